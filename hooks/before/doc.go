// Package before asks another program before a message is taken: whether it may be, and as what.
//
//	reader ──> Line ──> Asker ──> one of so many questions at once ──> receiver
//	            │                  (a breaker stands before it)
//	            └── what was sent after it waits its turn; then the log
//
// The receiver is asked by a signed POST, as webhooks are sent:
//
//	{"type":"message.before_send","timestamp":"..","namespace":"chat","data":{"room","from":{"user","name","guest"},"type","cid","target","data"}}
//
// and answers {"action":"allow"}, {"action":"deny","reason":".."} or {"action":"replace","data":..}. Without an answer in time,
// or with one that cannot be used, the message is taken or refused, as the room or else the configuration says.
//
// Asked is about everything people write, edits too, by whatever way it comes. A reaction, and the deletion of a message,
// hold nothing to be judged. A will is asked about when it is given: it is published by the log, which asks nobody.
//
// The hash that recognises a message sent twice is that of what was sent, not of what took its place: the same message sent
// again is the same, whatever the receiver makes of it now. One whose cid the room has is not asked about again: what became
// of it is decided.
package before
