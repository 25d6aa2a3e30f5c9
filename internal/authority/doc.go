// Package authority has one test: the table of who may do what. Every role tries everything there is on every kind of
// room by every way there is, and what comes of it is held against rules that are written down here a second time, without
// a look at the code that they judge.
package authority
