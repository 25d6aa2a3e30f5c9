package api

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/internal/clock"
)

// Members is the cluster as an admin sees and changes it; any node answers for all. Errors are problems.
type Members interface {
	Cluster() ClusterStatus
	Servers(zone string) []Server // those that take clients, the best first
	Add(ctx context.Context, node, address string) error
	Drain(ctx context.Context, node string, on bool) error
	Backup(w io.Writer) error // everything this node has applied, as one file
	Promote(ctx context.Context, node string) error
	Remove(ctx context.Context, node string) error
	Transfer(ctx context.Context, node string) error
}

type memberRequest struct {
	Body struct {
		Node string `json:"node" doc:"the node's name" minLength:"1" maxLength:"255"`
	}
}

type addRequest struct {
	Body struct {
		Node    string `json:"node" doc:"the node's name" minLength:"1" maxLength:"255"`
		Address string `json:"address,omitempty" doc:"host:port of its cluster.bind, where it waits to be told whom to join" maxLength:"300"`
	}
}

type drainRequest struct {
	Body struct {
		Node string `json:"node" doc:"the node's name" minLength:"1" maxLength:"255"`
		End  bool   `json:"end,omitempty" doc:"let clients come again"`
	}
}

// Server is a node as clients reach it, by URLs; one that it does not offer is absent.
type Server struct {
	Node  string  `json:"node"`
	Zone  string  `json:"zone,omitempty"`
	MQTT  string  `json:"mqtt,omitempty" example:"mqtt://10.0.0.1:1883"`
	MQTTS string  `json:"mqtts,omitempty" example:"mqtts://chat.example.com:8883"`
	WS    string  `json:"ws,omitempty" example:"wss://chat.example.com/mqtt"`
	Load  float64 `json:"load" doc:"connections as a share of what the node takes"`
}

type servers struct {
	Servers []Server `json:"servers" doc:"the best first"`
}

type connectRequest struct {
	Zone string `query:"zone" doc:"nodes of this zone come first" maxLength:"128"`
}

type transferRequest struct {
	Body struct {
		Node string `json:"node,omitempty" doc:"the voter that shall lead; the fittest when absent" maxLength:"255"`
	}
}

// registerCluster adds what an admin of the default namespace may do with nodes.
func (a *API) registerCluster(h huma.API) {
	m := a.cfg.Members
	if m == nil {
		return
	}
	tags := []string{"cluster"}
	huma.Register(h, huma.Operation{
		OperationID: "connect", Method: http.MethodGet, Path: "/connect", Tags: []string{"connect"},
		Summary: "Where to connect by MQTT and WebSocket: the nodes that take clients, by zone and load", Errors: errorsOf(),
	}, func(_ context.Context, in *connectRequest) (*answer[servers], error) {
		return &answer[servers]{servers{m.Servers(in.Zone)}}, nil
	})
	huma.Register(h, huma.Operation{
		OperationID: "cluster.status", Method: http.MethodGet, Path: "/cluster", Tags: tags,
		Summary: "The cluster as this node sees it, for admins", Security: byToken, Errors: errorsOf(http.StatusForbidden),
	}, func(ctx context.Context, _ *struct{}) (*answer[ClusterStatus], error) {
		if err := a.operator(ctx); err != nil {
			return nil, err
		}
		return &answer[ClusterStatus]{m.Cluster()}, nil
	})
	backup := huma.Operation{
		OperationID: "cluster.backup", Method: http.MethodGet, Path: "/cluster/backup", Tags: tags,
		Summary:  "A backup of everything that was acknowledged before, for `madang restore`",
		Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusConflict),
		Responses: map[string]*huma.Response{"200": {
			Description: "one file with checksums",
			Content:     map[string]*huma.MediaType{backupType: {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		}},
	}
	huma.Register(h, backup, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		if err := a.operator(ctx); err != nil {
			return nil, err
		}
		if err := a.await(ctx, "strong"); err != nil {
			return nil, fail(err)
		}
		if !a.backing.CompareAndSwap(false, true) {
			return nil, fail(problem.New(problem.Conflict, "A backup is being made already; each keeps files that would go otherwise."))
		}
		return &huma.StreamResponse{Body: a.backup}, nil
	})
	change := func(id, path, summary string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: http.MethodPost, Path: path, Tags: tags, Summary: summary, Security: byToken,
			MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound, http.StatusConflict),
		}
	}
	huma.Register(h, change("cluster.add", "/cluster/add", "Let a node come in, and with an address tell it whom to join"),
		func(ctx context.Context, in *addRequest) (*answer[ClusterStatus], error) {
			return a.change(ctx, func(ctx context.Context, node string) error { return m.Add(ctx, node, in.Body.Address) }, in.Body.Node)
		})
	huma.Register(h, change("cluster.drain", "/cluster/drain", "Send a node's clients to the others and let no new ones in"),
		func(ctx context.Context, in *drainRequest) (*answer[ClusterStatus], error) {
			return a.change(ctx, func(ctx context.Context, node string) error { return m.Drain(ctx, node, !in.Body.End) }, in.Body.Node)
		})
	huma.Register(h, change("cluster.promote", "/cluster/promote", "Give a replica a vote"),
		func(ctx context.Context, in *memberRequest) (*answer[ClusterStatus], error) {
			return a.change(ctx, m.Promote, in.Body.Node)
		})
	huma.Register(h, change("cluster.remove", "/cluster/remove", "Take a node out of the cluster"),
		func(ctx context.Context, in *memberRequest) (*answer[ClusterStatus], error) {
			return a.change(ctx, m.Remove, in.Body.Node)
		})
	huma.Register(h, change("cluster.transfer", "/cluster/transfer", "Hand leadership over"),
		func(ctx context.Context, in *transferRequest) (*answer[ClusterStatus], error) {
			return a.change(ctx, m.Transfer, in.Body.Node)
		})
}

const (
	backupType = "application/octet-stream"
	backupPart = 1 << 20
	backupStep = 30 * time.Second // for the client to take the next part: the files wait for it
)

// backup streams a backup. One that cannot be finished is cut off, so that nobody takes it for a whole one.
func (a *API) backup(ctx huma.Context) {
	defer a.backing.Store(false)
	_, w := humago.Unwrap(ctx)
	w.Header().Set("Content-Type", backupType)
	out := bufio.NewWriterSize(&patient{w: w, control: http.NewResponseController(w), step: backupStep}, backupPart)
	if err := a.cfg.Members.Backup(out); err != nil || out.Flush() != nil {
		a.log.Error("a backup was not finished", "err", err)
		panic(http.ErrAbortHandler)
	}
}

// patient writes a long answer: the deadline is for each part.
type patient struct {
	w       io.Writer
	control *http.ResponseController
	step    time.Duration
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(clock.Deadline(p.step)) // one that cannot be set is that of the server
	return p.w.Write(b)
}

// operator refuses whoever is no admin of the default namespace: nodes belong to no namespace.
func (a *API) operator(ctx context.Context) error {
	if id := identityOf(ctx); !id.Admin || id.Namespace != a.cfg.DefaultNamespace {
		return fail(problem.New(problem.Forbidden, "Only an admin of the default namespace sees and changes the cluster."))
	}
	return nil
}

// change makes a change for an admin and answers with what the cluster is then.
func (a *API) change(ctx context.Context, f func(context.Context, string) error, node string) (*answer[ClusterStatus], error) {
	if err := a.operator(ctx); err != nil {
		return nil, err
	}
	if err := f(ctx, node); err != nil {
		return nil, fail(err)
	}
	return &answer[ClusterStatus]{a.cfg.Members.Cluster()}, nil
}
