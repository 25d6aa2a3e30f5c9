package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/internal/clock"
)

// Times of streams and long polls.
const (
	eventsBeat     = 15 * time.Second // a comment that keeps proxies from closing a silent stream
	eventsWrite    = 30 * time.Second // for a client to take what is written
	longPoll       = 25 * time.Second // the longest wait
	maxEvents      = 1000             // streams and long polls at once,
	maxEventsOfOne = 20               // those of one user, or of the guests of one address
)

type eventsRequest struct {
	Room        string           `path:"room" doc:"the room's id"`
	After       optional[uint64] `query:"after" doc:"entries after this seq; those to come when not given"`
	LastEventID optional[uint64] `header:"Last-Event-ID" doc:"after, as browsers say it when they come back"`
	Wait        optional[uint64] `query:"wait" doc:"seconds, at most 25: a long poll in place of a stream"`
	Accept      string           `header:"Accept" hidden:"true"`
}

func (a *API) registerEvents(h huma.API) {
	const path = "/rooms/{room}/events"
	huma.Register(h, huma.Operation{
		OperationID: "events", Method: http.MethodGet, Path: path, Tags: []string{"messages"},
		Summary: "Follow a room: a stream of server-sent events, or with wait a long poll",
		Description: "Each event is an entry of the room's log, as delivered by MQTT; its id is its seq, so that a browser that comes back " +
			"goes on where it was (Last-Event-ID). An event `gap` says which entries are not kept any more, `error` why the stream ends.",
		Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *eventsRequest) (*huma.StreamResponse, error) {
		after := in.LastEventID.pointer() // a browser that comes back asks at the address it was given first
		if after == nil {
			after = in.After.pointer()
		}
		who, _ := ctx.Value(identityKey{}).(*who)
		leave, bad := a.streams.enter(who)
		if bad != nil {
			return nil, fail(bad)
		}
		f, err := a.cfg.Calls.Follow(identityOf(ctx), in.Room, after)
		if err != nil {
			leave()
			return nil, fail(err)
		}
		wait := in.Wait.pointer()
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			defer leave()
			defer f.Close()
			r, w := humago.Unwrap(hc)
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(a.streams.ctx, cancel)()
			there := func() error { return a.cfg.Calls.StillThere(identityOf(hc.Context())) }
			if wait != nil || !takesEvents(in.Accept) {
				poll(ctx, w, f, wait, there)
				return
			}
			if id := identityOf(hc.Context()); !id.Expires.IsZero() {
				var end context.CancelFunc
				ctx, end = context.WithTimeout(ctx, clock.Until(id.Expires))
				defer end()
			}
			s := &stream{w: w, control: http.NewResponseController(w)}
			s.run(ctx, f, func() bool { return a.streams.ctx.Err() != nil }, there)
		}}, nil
	})
	op := h.OpenAPI().Paths[path].Get
	op.Responses["200"] = &huma.Response{Description: "OK", Content: map[string]*huma.MediaType{
		"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}},
		"application/json":  {Schema: h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[calls.Polled](), true, "Polled")},
	}}
}

// takesEvents reports whether a client that says nothing of wait wants a stream.
func takesEvents(accept string) bool {
	return accept == "" || strings.Contains(accept, "text/event-stream") || strings.Contains(accept, "*/*")
}

// poll answers a long poll: with what there is, or what comes while it waits, if there says that
// the caller is admitted still.
func poll(ctx context.Context, w http.ResponseWriter, f *calls.Follower, wait *uint64, there func() error) {
	limit := longPoll
	if wait != nil {
		limit = min(time.Duration(min(*wait, 60))*time.Second, longPoll)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	got, err := f.Next(ctx)
	if err == nil {
		err = there()
	}
	if err != nil {
		writeProblem(w, calls.ProblemFrom(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(got.Polled().AppendJSON(nil), '\n')) // a client that is gone needs no answer
}

// stream is a stream of server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     []byte
}

// run sends what follows until ctx ends, the room may not be read any more, or the client takes nothing.
func (s *stream) run(ctx context.Context, f *calls.Follower, stopping func() bool, there func() error) {
	_ = s.control.SetReadDeadline(time.Time{}) // the request has been read; what is left is to notice that the client goes
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	s.w.WriteHeader(http.StatusOK)
	s.buf = append(s.buf[:0], "retry: 1000\n\n"...)
	for s.flush() == nil {
		look, cancel := context.WithTimeout(ctx, eventsBeat)
		got, err := f.Next(look)
		cancel()
		if err == nil && ctx.Err() == nil {
			err = there()
		}
		switch {
		case err != nil:
			s.event("error", 0, calls.ProblemFrom(err).AppendJSON(nil))
			_ = s.flush()
			return
		case stopping():
			return
		case ctx.Err() != nil:
			if ctx.Err() == context.DeadlineExceeded { //nolint:errorlint // Err returns it as it is
				s.event("error", 0, problem.New(problem.TokenExpired, "").AppendJSON(nil))
				_ = s.flush()
			}
			return
		}
		if got.Gap != nil {
			b, err := json.Marshal(got.Gap)
			if err != nil {
				return
			}
			s.event("gap", min(got.Gap.To, got.Head), b)
		}
		for _, e := range got.Entries {
			s.event("", e.Seq, e.JSON)
		}
		if len(s.buf) == 0 {
			s.buf = append(s.buf, ":\n\n"...)
		}
	}
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// event appends an event; a name "" is that of a message.
func (s *stream) event(name string, id uint64, data []byte) {
	if id != 0 {
		s.buf = append(strconv.AppendUint(append(s.buf, "id: "...), id, 10), '\n')
	}
	if name != "" {
		s.buf = append(append(append(s.buf, "event: "...), name...), '\n')
	}
	// JSON may hold line ends between its tokens, of any kind that the standard knows.
	for line := range strings.SplitSeq(lineEnds.Replace(string(data)), "\n") {
		s.buf = append(append(append(s.buf, "data: "...), line...), '\n')
	}
	s.buf = append(s.buf, '\n')
}

func (s *stream) flush() error {
	_ = s.control.SetWriteDeadline(clock.Deadline(eventsWrite)) // not offered by every server; then the server's own holds
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return err
	}
	return s.control.Flush()
}

// streams bounds streams and long polls, and ends them when the node stops.
type streams struct {
	mu   sync.Mutex
	all  int
	held map[quota.Name]int // by who holds them

	ctx context.Context //nolint:containedctx // the life of the port
	end context.CancelFunc
}

func newStreams() *streams {
	s := &streams{held: map[quota.Name]int{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// enter takes a place for a caller, who has a share of them.
func (s *streams) enter(by *who) (leave func(), bad *problem.Problem) {
	var holder quota.Name
	if by != nil {
		holder = quota.Holder(by.Identity, by.addr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.all >= maxEvents:
		return nil, overloaded()
	case s.held[holder] >= maxEventsOfOne:
		return nil, problem.New(problem.RateLimited, "You have %d streams and polls open, which is the limit.", maxEventsOfOne).After(retryStart)
	}
	s.all++
	s.held[holder]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.held[holder]--; s.held[holder] == 0 {
			delete(s.held, holder)
		}
	}), nil
}

// EndStreams ends every stream and long poll: the port is about to close.
func (a *API) EndStreams() { a.streams.end() }
