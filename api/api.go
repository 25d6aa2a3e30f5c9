package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/hooks/topic"
)

// Paths of the API.
const (
	Base         = "/api/v1"
	OpenAPIPath  = "/api/openapi.json"
	AsyncAPIPath = "/api/asyncapi.json" // what is said over MQTT
	DocsPath     = "/api/docs"          // the calls for people
)

// Readiness says when a node can answer.
type Readiness interface {
	// Ready returns a channel that is closed while the node can answer.
	Ready() <-chan struct{}
}

// Config of New. Calls and Ready are needed; a zero elsewhere takes the default named beside it.
type Config struct {
	Calls       *calls.Calls
	Ready       Readiness
	Address     func(*http.Request) netip.Addr // where a request comes from, for the login back-off; its RemoteAddr
	Rules       *hooks.Publishing              // what a publish comes to; nil: there is no POST /publish
	Quotas      *quota.Quotas                  // what a user, or a guest's address, may send, by MQTT and HTTP together; no limits
	Addresses   *quota.Quotas                  // what everybody at an address may send, likewise; no limits
	Shared      func(netip.Addr) bool          // whether an address is a proxy's that does not tell its clients apart; none is
	Refusals    *limit.Refusals                // counts refusals by their limits; nobody does
	AllowOrigin func(origin, host string) bool // whether pages of that origin may call; none but the node's own
	Barrier     func(context.Context) error    // waits until this node has all that was acknowledged; nil: it always has
	Members     Members                        // what admins see and change of the cluster; nil: nothing of it is served

	DefaultNamespace string        // whose admins those are; "chat"
	Discard          func() int64  // bytes of a refused body that are read and thrown away; 16 MiB
	Version          string        // in the OpenAPI document; "dev"
	ReadyWait        time.Duration // for a node that is starting; 5 s
	Timeout          time.Duration // of a request; the calls' AckWait and 5 s
	Logger           *slog.Logger  // nothing is logged
}

const (
	defaultReadyWait = 5 * time.Second
	defaultDiscard   = 16 << 20
)

// API serves everything below /api. It is safe for concurrent use and holds nothing that must be closed.
type API struct {
	cfg     Config
	log     *slog.Logger
	mux     *http.ServeMux
	budgets *budgets
	streams *streams
	doc     *huma.OpenAPI
	backing atomic.Bool // a backup is being made

	exports   chan struct{} // those under way
	importing atomic.Bool

	openAPI []byte
	async   []byte // the AsyncAPI document
	page    []byte // the same for people
}

// New returns the handler of /api.
func New(cfg Config) (*API, error) {
	setDefault(&cfg.Version, "dev")
	setDefault(&cfg.DefaultNamespace, topic.DefaultNamespace)
	setDefault(&cfg.ReadyWait, defaultReadyWait)
	if cfg.Discard == nil {
		cfg.Discard = func() int64 { return defaultDiscard }
	}
	setDefault(&cfg.Timeout, cfg.Calls.AckWait()+5*time.Second)
	if cfg.Address == nil {
		cfg.Address = remoteAddr
	}
	if cfg.Shared == nil {
		cfg.Shared = func(netip.Addr) bool { return false }
	}
	if cfg.AllowOrigin == nil {
		cfg.AllowOrigin = func(string, string) bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg, log: cfg.Logger.With("component", "api"), mux: http.NewServeMux(), budgets: newBudgets(), streams: newStreams(), exports: make(chan struct{}, maxExports)}
	hc := humaConfig(cfg.Version)
	hc.Transformers = append(hc.Transformers, a.counted)
	h := humago.NewWithPrefix(a.mux, Base, hc)
	h.UseMiddleware(a.identify)
	registerHealth(h)
	a.registerTokens(h)
	a.registerUsers(h)
	a.registerRooms(h)
	a.registerMessages(h)
	a.registerSync(h)
	a.registerModeration(h)
	a.registerState(h)
	a.registerPeople(h)
	a.registerPresence(h)
	a.registerSearch(h)
	a.registerExport(h)
	a.registerEvents(h)
	a.registerPublish(h)
	a.registerCluster(h)
	a.registerWebhooks(h)
	var err error
	a.doc = finish(h.OpenAPI())
	if a.openAPI, err = json.Marshal(a.doc); err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	if a.page, err = describe(a.doc); err != nil {
		return nil, fmt.Errorf("page of the OpenAPI document: %w", err)
	}
	if a.async, err = asyncDocument(); err != nil {
		return nil, err
	}
	a.mux.HandleFunc("GET "+OpenAPIPath, a.serveOpenAPI)
	a.mux.HandleFunc("GET "+AsyncAPIPath, a.serveAsyncAPI)
	a.mux.HandleFunc("GET "+DocsPath, a.serveDocs)
	return a, nil
}

func humaConfig(version string) huma.Config {
	c := huma.DefaultConfig("Madang", version)
	c.Info.Description = "Rooms and messages of a Madang broker. Every refusal is application/problem+json with a code."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil // no $schema members: what is answered is what design says
	c.RejectUnknownQueryParameters = true
	c.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	c.Servers = []*huma.Server{{URL: Base}}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		bearer: {Type: "http", Scheme: "bearer", Description: "A token of POST /auth/login, POST /auth/guest or auth.jwt."},
	}
	return c
}

// finish removes what huma documents of its own accord and this API never answers, and adds what a service key without the
// scope may be answered anywhere.
func finish(doc *huma.OpenAPI) *huma.OpenAPI {
	for _, p := range doc.Paths {
		for _, op := range operations(p) {
			delete(op.Responses, "422") // bad_payload is 400
			if refused := op.Responses["401"]; len(op.Security) > 0 && op.Responses["403"] == nil && refused != nil {
				forbidden := *refused
				forbidden.Description = http.StatusText(http.StatusForbidden)
				op.Responses["403"] = &forbidden
			}
		}
	}
	return doc
}

func (a *API) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(a.openAPI) // a client that is gone needs no answer
}

// healthPath answers also while the node starts.
const healthPath = "/health"

type health struct {
	Status string `json:"status" enum:"ok"`
}

// registerHealth says that this process answers HTTP. Whether the node is ready is for /readyz of the ops listener.
func registerHealth(h huma.API) {
	huma.Register(h, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: healthPath, Tags: []string{"health"},
		Summary: "Whether this process answers", Errors: []int{http.StatusBadRequest, http.StatusInternalServerError},
	}, func(context.Context, *struct{}) (*answer[health], error) { return &answer[health]{health{"ok"}}, nil })
}

func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
