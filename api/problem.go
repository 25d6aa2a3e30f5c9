package api

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
)

// problemDetails is a problem as huma wants errors: with headers and a schema.
type problemDetails struct{ *problem.Problem }

// GetHeaders returns Retry-After, and for 401 how to log in.
func (p *problemDetails) GetHeaders() http.Header {
	h := http.Header{}
	if s := p.RetryAfterSeconds(); s > 0 {
		h.Set("Retry-After", strconv.FormatInt(s, 10))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="madang"`)
	}
	return h
}

// Schema refers to the one description of the RFC 9457 form.
func (*problemDetails) Schema(r huma.Registry) *huma.Schema {
	const name = "Problem"
	if all := r.Map(); all[name] == nil {
		all[name] = problemSchema()
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

func problemSchema() *huma.Schema {
	codes := []any{string(calls.Internal)}
	for _, c := range problem.Codes() {
		codes = append(codes, string(c))
	}
	text := func(what string) *huma.Schema { return &huma.Schema{Type: huma.TypeString, Description: what} }
	return &huma.Schema{
		Type: huma.TypeObject,
		Properties: map[string]*huma.Schema{
			"type":        text("urn:madang:problem: and the code"),
			"title":       text("what the code means"),
			"status":      {Type: huma.TypeInteger, Description: "the HTTP status"},
			"code":        {Type: huma.TypeString, Enum: codes},
			"detail":      text("this case"),
			"retry_after": {Type: huma.TypeInteger, Description: "seconds after which the same request may succeed"},
		},
		Required:             []string{"type", "title", "status", "code"},
		AdditionalProperties: true,
	}
}

// fail is what handlers return for an error of a call.
func fail(err error) error { return &problemDetails{calls.ProblemFrom(err)} }

// huma has one place for the form of its own errors, and it is global, as is that "Room" is not "room". Both are set before
// anything can be served.
func init() {
	huma.ValidateStrictCasing = true
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return &problemDetails{ofHuma(status, msg, errs)}
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		p := &problemDetails{ofHuma(status, msg, errs)}
		if ctx != nil { // huma forgets the headers of its own errors
			for name, values := range p.GetHeaders() {
				ctx.SetHeader(name, values[0])
			}
		}
		return p
	}
}

// maxFaults is how many faults of a request a problem names.
const maxFaults = 3

// ofHuma is the problem for an error that huma found in a request. Values are never quoted: a body may hold a password.
func ofHuma(status int, msg string, errs []error) *problem.Problem {
	var faults []string
	for _, err := range errs {
		d := (*huma.ErrorDetail)(nil)
		if !errors.As(err, &d) {
			continue
		}
		if len(faults) == maxFaults {
			faults = append(faults, "and more")
			break
		}
		fault := d.Message
		if d.Location != "" {
			fault = d.Location + ": " + d.Message
		}
		faults = append(faults, fault)
	}
	detail := strings.Join(faults, "; ")
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if detail == "" {
			detail = msg
		}
		return problem.New(problem.BadPayload, "%s.", detail)
	case http.StatusRequestEntityTooLarge:
		return problem.New(problem.TooLarge, "The body is too large.")
	case http.StatusUnsupportedMediaType:
		return withStatus(problem.New(problem.Unsupported, "The body must be application/json."), status)
	case http.StatusRequestTimeout:
		return withStatus(problem.New(problem.BadPayload, "The body did not arrive in time."), status)
	case http.StatusInternalServerError:
		if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, errBodies) }) {
			return overloaded()
		}
		if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, errLong) }) {
			return problem.Over(problem.TooLarge, limit.Message, "The body is too large.")
		}
		if strings.HasPrefix(msg, "cannot read request body") { // the client's connection, not a fault of ours
			return problem.New(problem.BadPayload, "The body did not arrive whole.")
		}
	}
	return problem.New(calls.Internal, "")
}

// withStatus is p under a status that HTTP has a better name for.
func withStatus(p *problem.Problem, status int) *problem.Problem {
	q := *p
	q.Status = status
	return &q
}

// counted counts the refusals that huma answers with, by their limits. It changes nothing.
func (a *API) counted(_ huma.Context, _ string, v any) (any, error) {
	if p, ok := v.(*problemDetails); ok {
		a.cfg.Refusals.Add(p.Limit)
	}
	return v, nil
}

// writeProblem is the function of this name for what may be over a limit.
func (a *API) writeProblem(w http.ResponseWriter, p *problem.Problem) {
	a.cfg.Refusals.Add(p.Limit)
	writeProblem(w, p)
}

// writeProblem answers a request with p.
func writeProblem(w http.ResponseWriter, p *problem.Problem) {
	h := w.Header()
	maps.Copy(h, (&problemDetails{p}).GetHeaders())
	h.Set("Content-Type", problem.ContentType)
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(p.AppendJSON(nil), '\n')) // a client that is gone needs no answer
}

var (
	_ huma.StatusError       = (*problemDetails)(nil)
	_ huma.HeadersError      = (*problemDetails)(nil)
	_ huma.ContentTypeFilter = (*problemDetails)(nil)
	_ huma.SchemaProvider    = (*problemDetails)(nil)
)
