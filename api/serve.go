package api

import (
	"context"
	"mime"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
)

// ServeHTTP answers a request for anything below /api.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &response{ResponseWriter: w, answers: &a.budgets.answers}
	switch {
	case r.Body == nil || r.Body == http.NoBody:
	case isImport(r):
		body := &steady{r.Body, http.NewResponseController(w)}
		r = r.WithContext(r.Context())
		r.Body = body
	default:
		b := &body{ReadCloser: r.Body, of: &a.budgets.bodies, left: a.mostOfBody(), control: http.NewResponseController(w)}
		if r.ContentLength > b.left {
			b.left = -1
		}
		defer b.finish(r, a.cfg.Discard())
		r = r.WithContext(r.Context()) // a copy: net/http looks at the body of its own
		r.Body = b
	}
	defer a.recover(out, r)
	securityHeaders(out.Header())
	if a.cors(out, r) {
		return
	}
	handler, pattern := a.mux.Handler(r)
	if pattern == "" || !cleanPath(r.URL.EscapedPath()) {
		writeProblem(out, a.noRoute(out, r, handler))
		return
	}
	p := checkQuery(r.URL.RawQuery)
	if p == nil {
		p = checkBody(r.Header)
	}
	if p != nil {
		writeProblem(out, p)
		return
	}
	ctx := r.Context()
	if !isLong(r) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.cfg.Timeout)
		defer cancel()
	}
	if needsNode(r.URL.Path) && !a.ready(ctx) {
		writeProblem(out, problem.New(problem.NoQuorum, "This node is starting; try again.").After(retryStart))
		return
	}
	a.mux.ServeHTTP(out, r.WithContext(ctx))
}

// checkBody refuses bodies whose bytes are not what they seem: compressed ones, and text that is not UTF-8.
func checkBody(h http.Header) *problem.Problem {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return withStatus(problem.New(problem.Unsupported, "Bodies are taken as they are; send this one without Content-Encoding %.40s.", e),
			http.StatusUnsupportedMediaType)
	}
	_, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	c := params["charset"]
	if err == nil && c != "" && !slices.Contains([]string{"utf-8", "utf8", "us-ascii"}, strings.ToLower(c)) {
		return withStatus(problem.New(problem.Unsupported, "Text is UTF-8 here, not %.40s.", c), http.StatusUnsupportedMediaType)
	}
	return nil
}

// checkQuery refuses a query that could be read in two ways: escapes that are none, a parameter without a value, and one
// that is there twice with different values.
func checkQuery(raw string) *problem.Problem {
	if raw == "" {
		return nil
	}
	all, err := url.ParseQuery(raw)
	if err != nil {
		return problem.New(problem.BadPayload, "The query is not well formed.")
	}
	for part := range strings.SplitSeq(raw, "&") {
		if part != "" && !strings.Contains(part, "=") {
			return problem.New(problem.BadPayload, "query.%.40s has no value.", part)
		}
	}
	for name, values := range all {
		for _, v := range values[1:] {
			if v != values[0] {
				return problem.New(problem.BadPayload, "query.%.40s is there twice; give it once.", name)
			}
		}
	}
	return nil
}

const retryStart = 2 * time.Second

func needsNode(p string) bool {
	return strings.HasPrefix(p, Base+"/") && p != Base+healthPath
}

// ready waits for the node to be ready, for ReadyWait.
func (a *API) ready(ctx context.Context) bool {
	ready := a.cfg.Ready.Ready()
	select {
	case <-ready:
		return true
	default:
	}
	timer := time.NewTimer(a.cfg.ReadyWait)
	defer timer.Stop()
	select {
	case <-ready:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// securityHeaders says that nothing here is a page, and that no cache may keep what one user may read.
func securityHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// cors answers preflights and marks the answers that pages of other, allowed origins may read. Tokens travel in a header
// and there are no cookies, so credentials are never allowed.
func (a *API) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if !a.cfg.AllowOrigin(origin, r.Host) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "Retry-After")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Last-Event-ID")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// cleanPath reports whether the mux takes the path as it stands; it would redirect others, which turns a POST into a GET.
func cleanPath(p string) bool {
	return path.Clean(p) == p || p != "/" && path.Clean(p)+"/" == p
}

// noRoute says why the mux has no handler: the path is unknown, or the method is.
func (a *API) noRoute(w http.ResponseWriter, r *http.Request, handler http.Handler) *problem.Problem {
	answer := &discard{header: http.Header{}}
	if cleanPath(r.URL.EscapedPath()) {
		handler.ServeHTTP(answer, r)
	}
	if allow := answer.header.Get("Allow"); answer.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allow)
		return withStatus(problem.New(problem.Unsupported, "%s is not offered here; %s is.", r.Method, allow), answer.status)
	}
	return problem.New(problem.NotFound, "There is nothing at %s; %s lists what there is.", r.URL.Path, OpenAPIPath)
}

// recover answers a request whose handler panicked, without saying why, and logs it.
func (a *API) recover(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // panic value, compared as net/http does
		panic(v)
	}
	a.log.Error("a request panicked", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
	if w.wrote {
		panic(http.ErrAbortHandler) // half an answer must not look whole
	}
	writeProblem(w, problem.New(calls.Internal, ""))
}

// response remembers whether an answer was begun.
type response struct {
	http.ResponseWriter
	answers *transfers
	wrote   bool
}

func (w *response) WriteHeader(status int) {
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	w.wrote = true
	if len(b) >= largeAnswer {
		return w.answers.send(w.ResponseWriter, b)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// discard is an answer of which only status and header matter.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
