// Package bench loads an MQTT broker and measures what it does: deliveries per second and per CPU-second of the broker,
// loss, order, latency, memory per connection.
//
// It has to share a machine with the broker it measures, so it costs little: one goroutine drives every connection over
// plain TCP through one epoll, frames are read from one shared buffer and looked at in place, and what they carry is
// found by a stamp at a known offset. TLS and WebSocket connections have two goroutines each.
//
// Any broker can be measured, since nothing is used but CONNECT, SUBSCRIBE and PUBLISH; where messages are published
// and where they arrive are two topics. Latencies are counted from the time a message was due, not from the time it was
// sent, so that a broker that stops reading does not look fast.
package bench
