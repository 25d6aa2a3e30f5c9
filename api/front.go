package api

import (
	"net/http"

	"github.com/madang-chat/madang/hooks/problem"
)

// MQTTPath is where MQTT clients open their WebSocket.
const MQTTPath = "/mqtt"

// Front is the web port: MQTT over WebSocket at MQTTPath, everything else is the API's. It is no http.ServeMux, which
// sends a request for a path that is not clean elsewhere, and with that makes a GET of a POST.
type Front struct {
	MQTT http.Handler
	API  http.Handler

	// AllowHost says whether a request to this Host (the header as sent) is meant for this node; nil = always. Where
	// nobody proves who they are it keeps out pages of the web whose name was made to point at this machine (DNS
	// rebinding): to the browser they are of the same origin as the node.
	AllowHost func(host string) bool
}

// ServeHTTP passes the request on.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case f.AllowHost != nil && !f.AllowHost(r.Host):
		securityHeaders(w.Header())
		writeProblem(w, otherHost(r.Host))
	case r.URL.Path == MQTTPath:
		f.MQTT.ServeHTTP(w, r)
	default:
		f.API.ServeHTTP(w, r)
	}
}

// otherHost is the refusal of a request that was meant for a name this node does not know as its own.
func otherHost(host string) *problem.Problem {
	return withStatus(problem.New(problem.Forbidden, "This node believes everybody who reaches it, and so does not answer to "+
		"the name %.100q, which any page on the web could have given it: use localhost or the address, or add the name to "+
		"listeners.web.origins, or let users prove who they are (auth.users_file, auth.jwt).", host), http.StatusMisdirectedRequest)
}

// Refuse answers a request that is no call of the API, such as a WebSocket handshake, with a status and why.
func Refuse(w http.ResponseWriter, status int, why string) {
	code := problem.BadPayload
	switch status {
	case http.StatusUnauthorized:
		code = problem.Unauthenticated
	case http.StatusForbidden:
		code = problem.Forbidden
	case http.StatusMethodNotAllowed, http.StatusUpgradeRequired:
		code = problem.Unsupported
	case http.StatusTooManyRequests:
		code = problem.RateLimited
	case http.StatusServiceUnavailable:
		code = problem.NoQuorum
	case http.StatusInternalServerError:
		code = problem.Internal
	}
	securityHeaders(w.Header())
	writeProblem(w, withStatus(problem.New(code, "%s", why), status))
}
