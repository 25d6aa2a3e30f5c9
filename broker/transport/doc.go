// Package transport moves bytes between MQTT clients and the broker: listeners for TCP and TLS, a WebSocket handler,
// and one connection type over all of them. It knows where an MQTT packet ends and nothing else about MQTT.
//
// Outgoing bytes take one way, whatever the transport is:
//
//	Queue ──> pending ──> [WebSocket frame] ──> [TLS record ──> sealed] ──> wire ──> one send or sendmsg
//	          (mu)                                  (mu)                   (wmu, or the parked goroutine)
//
// Queue and Flush never wait for a client. When the socket is full the Conn is parked: one temporary goroutine owns
// wire, sends what is left as the client reads, and calls the owner back when everything has gone. An idle Conn holds
// no buffer in either direction.
//
// Lock order within a Conn: wmu, then the lock inside tls.Conn, then mu. mu is held for a few instructions only.
package transport
