// Package arch holds the tests that keep the program in the shape DESIGN.md draws: who may import whom, and what
// no file may contain. It has no code of its own.
package arch
