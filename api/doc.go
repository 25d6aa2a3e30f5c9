// Package api is the HTTP side of the broker: /api/v1 for users, and the listener of the operator.
//
//	request ─> Front: a name of this node? ─> /mqtt: WebSocket
//	                                       ─> everything else:
//	           headers, CORS ─> recover ─> known path and method? ─> node ready? (held up to 5 s)
//	        ─> huma: who is it ─> quota ─> params and body ─> calls.Calls ─> JSON, or RFC 9457 with a code of package problem
//
// What a call means is decided in package calls, the same for MQTT. This package decides what is particular to HTTP:
// paths, statuses, headers, how large a body may be, how long a request may take, what all requests may hold in memory
// together (budget.go). Every refusal, also that of a path that does not exist, is application/problem+json; only what
// net/http cannot read as a request at all (400, 417, 431, 501, 505) it answers itself.
//
// No header Authorization means a guest, who reads where guests may and writes nothing.
//
// OpenAPIPath describes the routes for programs, DocsPath for people, both made of the same document. Every answer that a
// test asks for is held against it (conform_test.go).
package api
