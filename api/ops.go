package api

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// Check is one condition of a node's health. A nil Err means that it is met.
type Check struct {
	Name string
	Err  error
}

// ClusterStatus is how a node sees its cluster. Node and Leader are node names; Leader is "" when none is known.
type ClusterStatus struct {
	Node    string        `json:"node"`
	Leader  string        `json:"leader"`
	Role    string        `json:"role"` // leader, follower, candidate, replica
	Term    uint64        `json:"term"`
	Applied uint64        `json:"applied"`
	Nodes   []ClusterNode `json:"nodes"`
}

// ClusterNode is one node of the cluster's configuration.
type ClusterNode struct {
	Node    string `json:"node"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
	Up      bool   `json:"up" doc:"it has told the asked node of itself within the last seconds"`

	Zone        string `json:"zone,omitempty"`
	Connections int    `json:"connections"`
	Draining    bool   `json:"draining,omitempty"`
}

// Node is what the operator may ask of a node. All of it is answered at once, without the cluster.
type Node interface {
	Live(ctx context.Context) []Check  // a failed one calls for a restart
	Ready(ctx context.Context) []Check // a failed one means: send no clients
	Cluster() ClusterStatus
}

// Digester sums up what a room holds; *storage.Store does.
type Digester interface {
	Digest(k storage.RoomKey) (storage.Digest, error)
}

// OpsConfig of NewOps. Node, Digester and Metrics are needed.
type OpsConfig struct {
	Node             Node
	Digester         Digester
	Metrics          prometheus.Gatherer
	DefaultNamespace string                 // "chat"
	Token            string                 // asked of every caller as a bearer token; "" = nobody is asked
	ClientCAs        *x509.CertPool         // who must have signed every caller's certificate; nil = nobody is asked
	AllowHost        func(host string) bool // as of Front; nil = every name
	Logger           *slog.Logger
}

type ops struct {
	cfg OpsConfig
	mux *http.ServeMux
}

// NewOps returns the handler of the operator's listener: /livez, /readyz, /metrics, /cluster, /digest, /debug/pprof/.
// All of it only reads.
func NewOps(cfg OpsConfig) http.Handler {
	setDefault(&cfg.DefaultNamespace, topic.DefaultNamespace)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	o := &ops{cfg: cfg, mux: http.NewServeMux()}
	o.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { writeChecks(w, r, cfg.Node.Live(r.Context())) })
	o.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { writeChecks(w, r, cfg.Node.Ready(r.Context())) })
	o.mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{}))
	o.mux.HandleFunc("GET /cluster", o.cluster)
	o.mux.HandleFunc("GET /digest", o.digest)
	o.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	o.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	o.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	o.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	o.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return o
}

// ServeHTTP answers the operator, with a token if one is asked for.
func (o *ops) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if o.cfg.AllowHost != nil && !o.cfg.AllowHost(r.Host) {
		writeProblem(w, otherHost(r.Host))
		return
	}
	if p := o.admit(r); p != nil {
		writeProblem(w, p)
		return
	}
	handler, pattern := o.mux.Handler(r)
	if !cleanPath(r.URL.EscapedPath()) { // the mux would send it elsewhere
		handler, pattern = http.NotFoundHandler(), ""
	}
	if pattern == "" {
		answer := &discard{header: http.Header{}}
		handler.ServeHTTP(answer, r)
		if allow := answer.header.Get("Allow"); allow != "" {
			h.Set("Allow", allow)
			writeProblem(w, withStatus(problem.New(problem.Unsupported, "Only %s is offered here.", allow), answer.status))
			return
		}
		writeProblem(w, problem.New(problem.NotFound,
			"There is /livez, /readyz?verbose, /metrics, /cluster, /digest?room=R and /debug/pprof/."))
		return
	}
	o.mux.ServeHTTP(w, r)
}

// admit says why a caller is not let in: what is asked of callers is asked of all of them.
func (o *ops) admit(r *http.Request) *problem.Problem {
	if o.cfg.ClientCAs != nil {
		if err := verify(r.TLS, o.cfg.ClientCAs); err != nil {
			o.cfg.Logger.Debug("client certificate refused", "remote", r.RemoteAddr, "err", err)
			return problem.New(problem.Unauthenticated, "A client certificate is needed that one of the authorities in "+
				"listeners.ops.client_ca_file has signed for clients.")
		}
	}
	if o.cfg.Token == "" {
		return nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") &&
		subtle.ConstantTimeCompare([]byte(strings.TrimSpace(token)), []byte(o.cfg.Token)) == 1 {
		return nil
	}
	return problem.New(problem.Unauthenticated, "The header is: Authorization: Bearer TOKEN.")
}

// verify checks the certificate a client showed.
func verify(state *tls.ConnectionState, authorities *x509.CertPool) error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return errors.New("none was shown")
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: authorities, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CurrentTime: clock.Now(),
	})
	return err
}

// writeChecks answers 200 when every check is met, else 503; with ?verbose, or on a failure, it says which are not.
func writeChecks(w http.ResponseWriter, r *http.Request, checks []Check) {
	var b strings.Builder
	status, failed := http.StatusOK, 0
	for _, c := range checks {
		if c.Err != nil {
			failed++
			fmt.Fprintf(&b, "[-]%s: %s\n", c.Name, c.Err)
		} else if r.URL.Query().Has("verbose") {
			fmt.Fprintf(&b, "[+]%s ok\n", c.Name)
		}
	}
	if failed > 0 {
		status = http.StatusServiceUnavailable
		fmt.Fprintf(&b, "%d of %d checks failed\n", failed, len(checks))
		w.Header().Set("Retry-After", "1")
	} else {
		b.WriteString("ok\n")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(b.String())) // a client that is gone needs no answer
}

func (o *ops) cluster(w http.ResponseWriter, _ *http.Request) {
	s := o.cfg.Node.Cluster()
	if s.Nodes == nil {
		s.Nodes = []ClusterNode{}
	}
	writeJSON(w, s)
}

// digest reads a whole room, so that operators can compare nodes.
func (o *ops) digest(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	k := storage.RoomKey{NS: q.Get("ns"), Room: q.Get("room")}
	setDefault(&k.NS, o.cfg.DefaultNamespace)
	if !topic.ValidNamespace(k.NS) || !topic.IsRoom(k.Room) {
		writeProblem(w, problem.New(problem.BadPayload, "Name a room: /digest?room=general, and with ns= a namespace."))
		return
	}
	d, err := o.cfg.Digester.Digest(k)
	switch {
	case errors.Is(err, storage.ErrNoRoom):
		writeProblem(w, problem.New(problem.NotFound, "There is no room %q in %q.", k.Room, k.NS))
	case err != nil:
		o.cfg.Logger.Error("a digest failed", "room", k.NS+"/"+k.Room, "err", err)
		writeProblem(w, problem.New(calls.Internal, ""))
	default:
		writeJSON(w, d)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		writeProblem(w, problem.New(calls.Internal, ""))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // a client that is gone needs no answer
}
