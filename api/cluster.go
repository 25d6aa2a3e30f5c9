package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/problem"
)

// Members is the cluster as an admin sees and changes it; any node answers for all. Errors are problems.
type Members interface {
	Cluster() ClusterStatus
	Promote(ctx context.Context, node string) error
	Remove(ctx context.Context, node string) error
	Transfer(ctx context.Context, node string) error
}

type memberRequest struct {
	Body struct {
		Node string `json:"node" doc:"the node's name" minLength:"1" maxLength:"255"`
	}
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
		OperationID: "cluster.status", Method: http.MethodGet, Path: "/cluster", Tags: tags,
		Summary: "The cluster as this node sees it, for admins", Security: byToken, Errors: errorsOf(http.StatusForbidden),
	}, func(ctx context.Context, _ *struct{}) (*answer[ClusterStatus], error) {
		if err := a.operator(ctx); err != nil {
			return nil, err
		}
		return &answer[ClusterStatus]{m.Cluster()}, nil
	})
	change := func(id, path, summary string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: http.MethodPost, Path: path, Tags: tags, Summary: summary, Security: byToken,
			MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound, http.StatusConflict),
		}
	}
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
