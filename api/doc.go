// Package api is the HTTP side of the broker: /api/v1 for users, and the listener of the operator.
//
//	request ─> headers, CORS ─> recover ─> known path and method? ─> node ready? (held up to 5 s)
//	        ─> huma: who is it ─> params and body ─> calls.Calls ─> JSON, or RFC 9457 with a code of package problem
//
// What a call means is decided in package calls, the same for MQTT. This package decides what is particular to HTTP:
// paths, statuses, headers, how large a body may be, how long a request may take. Every refusal, also that of a path
// that does not exist, is application/problem+json.
//
// No header Authorization means a guest, who reads where guests may and writes nothing.
package api
