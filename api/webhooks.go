package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
)

type deadRequest struct {
	Name  string `path:"name" doc:"of the webhook"`
	Limit int    `query:"limit" doc:"events per page, 100 when not given, at most 1000" minimum:"0"`
	After uint64 `query:"after" doc:"next of the page before"`
}

type retryRequest struct {
	Name string `path:"name" doc:"of the webhook"`
	Body *struct {
		IDs []uint64 `json:"ids,omitempty" doc:"of the events; all when absent" maxItems:"1000"`
	}
}

// registerWebhooks adds what an admin of the default namespace sees of webhooks.
func (a *API) registerWebhooks(h huma.API) {
	c := a.cfg.Calls
	tags := []string{"webhooks"}
	huma.Register(h, huma.Operation{
		OperationID: "webhooks", Method: http.MethodGet, Path: "/webhooks", Tags: tags,
		Summary: "The webhooks and how far they are, for admins", Security: byToken, Errors: errorsOf(http.StatusForbidden),
	}, func(ctx context.Context, _ *struct{}) (*answer[calls.WebhookList], error) {
		return answered(c.Webhooks(ctx, identityOf(ctx), struct{}{}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "webhooks.dead", Method: http.MethodGet, Path: "/webhooks/{name}/dead", Tags: tags,
		Summary: "Events that a receiver did not take", Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *deadRequest) (*answer[calls.DeadPage], error) {
		return answered(c.WebhookDead(ctx, identityOf(ctx), calls.DeadInput{Name: in.Name, After: in.After, Limit: in.Limit}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "webhooks.retry", Method: http.MethodPost, Path: "/webhooks/{name}/dead/retry", Tags: tags,
		Summary: "Try them again, after all that wait already", Security: byToken, MaxBodyBytes: maxSmallBody,
		Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *retryRequest) (*answer[calls.Retried], error) {
		req := calls.RetryInput{Name: in.Name}
		if in.Body != nil {
			req.IDs = in.Body.IDs
		}
		return answered(c.WebhookRetry(ctx, identityOf(ctx), req))
	})
}
