// Package link is the port between nodes: TLS 1.3 with a certificate on both sides, one port for everything, told apart by
// ALPN. It knows who is at the other end and nothing of what is said.
//
// Every certificate belongs to one node: its common name is the node's id. Whoever cannot show one that the cluster's
// authority signed is cut off in the handshake, before a byte of any protocol.
package link
