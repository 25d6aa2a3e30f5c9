package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
)

type stateRequest struct {
	Room        string `path:"room" doc:"the room's id"`
	Key         string `path:"key" doc:"the state key"`
	Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
}

type stateSetRequest struct {
	Room        string `path:"room" doc:"the room's id"`
	Key         string `path:"key" doc:"the state key"`
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte
}

func (a *API) registerState(h huma.API) {
	c := a.cfg.Calls
	const path = "/rooms/{room}/state/{key}"
	huma.Register(h, huma.Operation{
		OperationID: "state.get", Method: http.MethodGet, Path: path, Tags: []string{"state"},
		Summary: "The last value of a state key", Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *stateRequest) (*answer[json.RawMessage], error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return answered(c.State(ctx, identityOf(ctx), calls.StateInput{Room: in.Room, Key: in.Key}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "state.set", Method: http.MethodPut, Path: path, Tags: []string{"state"},
		Summary: "Set a state key, or delete it",
		Description: "A body of type application/json is an envelope with data and, for a conditional write, if_ver; any other body is " +
			"the value itself. No body, or data that is null, deletes the key. A value has no ttl.",
		Security: byToken, MaxBodyBytes: mostBody,
		Errors: errorsOf(http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType),
	}, func(ctx context.Context, in *stateSetRequest) (*answer[calls.StateSet], error) {
		if err := a.spend(ctx, len(in.RawBody)); err != nil {
			return nil, fail(err)
		}
		return answered(c.SetState(ctx, identityOf(ctx), calls.StateInput{Room: in.Room, Key: in.Key}, in.ContentType, in.RawBody))
	})
	body := h.OpenAPI().Paths[path].Put.RequestBody
	body.Required = false
	body.Content = map[string]*huma.MediaType{
		"application/json": {Schema: &huma.Schema{
			Type: huma.TypeObject,
			Properties: map[string]*huma.Schema{
				"data":   {Description: "the value; null deletes the key"},
				"if_ver": {Type: huma.TypeInteger, Format: "int64", Description: "the version it must have; 0: it must not be set"},
			},
			Required: []string{"data"},
		}},
		"*/*": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}
}
