package api

import (
	"bufio"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/internal/clock"
)

// Exports and imports are as long as what they carry. They hold a few pages in memory, and nothing of the store between two
// pages, however slowly the other side takes or gives them.
const (
	linesType  = "application/x-ndjson"
	exportPart = 64 << 10
	exportStep = 60 * time.Second // for a client to take a part
	importStep = 60 * time.Second // for a client to send something
	maxExports = 4                // at the same time
)

type exportRoomRequest struct {
	Room           string `path:"room" doc:"the room's id"`
	AcceptEncoding string `header:"Accept-Encoding" hidden:"true"`
	Consistency    string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
}

type exportUserRequest struct {
	User           string `path:"user" doc:"the user's name"`
	AcceptEncoding string `header:"Accept-Encoding" hidden:"true"`
	Consistency    string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
}

func (a *API) registerExport(h huma.API) {
	lines := func(what string) map[string]*huma.Response {
		return map[string]*huma.Response{"200": {Description: what, Content: map[string]*huma.MediaType{linesType: {Schema: &huma.Schema{Type: huma.TypeString}}}}}
	}
	huma.Register(h, huma.Operation{
		OperationID: "room.export", Method: http.MethodGet, Path: "/rooms/{room}/export", Tags: []string{"export"},
		Summary: "A room as lines of JSON, for its owners, admins, auditors and service keys",
		Description: "What the room is, every entry in order as it was delivered, state, reactions, members, marks, and a last line that says " +
			"that it is whole. What comes into the room meanwhile is not in it.",
		Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound), Responses: lines("lines of JSON"),
	}, func(ctx context.Context, in *exportRoomRequest) (*huma.StreamResponse, error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return a.export(in.AcceptEncoding, func() (*calls.Export, error) { return a.cfg.Calls.ExportRoom(identityOf(ctx), in.Room) })
	})
	huma.Register(h, huma.Operation{
		OperationID: "user.export", Method: http.MethodGet, Path: "/users/{user}/export", Tags: []string{"export"},
		Summary:  "What is kept of a user, as lines of JSON: for that user, admins and service keys",
		Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound), Responses: lines("lines of JSON"),
	}, func(ctx context.Context, in *exportUserRequest) (*huma.StreamResponse, error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return a.export(in.AcceptEncoding, func() (*calls.Export, error) { return a.cfg.Calls.ExportUser(identityOf(ctx), in.User) })
	})
	const path = "/rooms/{room}/import"
	huma.Register(h, huma.Operation{
		OperationID: "room.import", Method: http.MethodPost, Path: path, Tags: []string{"export"},
		Summary: "Make a room of an export, as an admin",
		Description: "The room is a new one; entries keep their numbers, times and writers. One that was interrupted is sent again from its " +
			"beginning, and goes on where it was.",
		Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge),
	}, func(ctx context.Context, in *roomRequest) (*huma.StreamResponse, error) {
		if err := a.cfg.Calls.MayImport(identityOf(ctx), in.Room); err != nil {
			return nil, fail(err)
		}
		if !a.importing.CompareAndSwap(false, true) {
			return nil, fail(problem.New(problem.Conflict, "This node imports a room already; wait for it, or ask another node.").After(retryStart))
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			r, w := humago.Unwrap(hc)
			got, err := func() (calls.ImportedRoom, error) {
				defer a.importing.Store(false) // before the rest of what was refused is read
				return a.cfg.Calls.ImportRoom(r.Context(), identityOf(hc.Context()), in.Room, r.Body)
			}()
			control := http.NewResponseController(w)
			_ = control.SetWriteDeadline(clock.Deadline(exportStep))
			if err != nil {
				a.writeProblem(w, calls.ProblemFrom(err))
				_ = control.Flush()
				_, _ = io.CopyN(io.Discard, r.Body, a.cfg.Discard()) // a client that is still sending would be reset before it reads why
				return
			}
			answerJSON(w, got)
		}}, nil
	})
	op := h.OpenAPI().Paths[path].Post
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{linesType: {Schema: &huma.Schema{Type: huma.TypeString}}}}
	op.Responses["200"] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{
		"application/json": {Schema: h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[calls.ImportedRoom](), true, "ImportedRoom")},
	}}
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = jsonFormat.Marshal(w, v) // a client that is gone needs no answer
}

// export streams an export. One that cannot be finished is cut off, so that nobody takes it for a whole one.
func (a *API) export(accept string, of func() (*calls.Export, error)) (*huma.StreamResponse, error) {
	e, err := of()
	if err != nil {
		return nil, fail(err)
	}
	select {
	case a.exports <- struct{}{}:
	default:
		return nil, fail(overloaded())
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer func() { <-a.exports }()
		r, w := humago.Unwrap(hc)
		h := w.Header()
		h.Set("Content-Type", linesType)
		out := bufio.NewWriterSize(&patient{w: w, control: http.NewResponseController(w), step: exportStep}, exportPart)
		var to io.Writer = out
		end := out.Flush
		if takesGzip(accept) {
			h.Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(out)
			to, end = z, func() error {
				if err := z.Close(); err != nil {
					return err
				}
				return out.Flush()
			}
		}
		if err := e.WriteTo(r.Context(), to); err != nil || end() != nil {
			a.log.Info("an export was not finished", "err", err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// takesGzip reports whether a client says that it takes gzip.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, q, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

// isLong reports whether the request is for what lasts as long as it likes: events, an export or an import.
func isLong(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, Base+"/rooms/")
	if !ok {
		rest, ok = strings.CutPrefix(r.URL.Path, Base+"/users/")
		_, verb, _ := strings.Cut(rest, "/")
		return ok && verb == "export" && r.Method == http.MethodGet
	}
	_, verb, _ := strings.Cut(rest, "/")
	return (verb == "events" || verb == "export") && r.Method == http.MethodGet || isImport(r)
}

// isImport reports whether the body of a request is read as it comes, and not held.
func isImport(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, Base+"/rooms/")
	_, verb, _ := strings.Cut(rest, "/")
	return ok && verb == "import" && r.Method == http.MethodPost
}

// steady reads a long body: the deadline is for each part.
type steady struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read waits for the next part.
func (s *steady) Read(p []byte) (int, error) {
	_ = s.control.SetReadDeadline(clock.Deadline(importStep)) // one that cannot be set is that of the server
	return s.ReadCloser.Read(p)
}
