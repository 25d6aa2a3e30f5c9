package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
)

type syncRequest struct {
	Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
	RawBody     []byte
}

// synced is a calls.Synced, which writes its own JSON, described by hand.
type synced struct{ calls.Synced }

// Schema describes what is missing room by room: of each either what there is, or why there is nothing.
func (synced) Schema(r huma.Registry) *huma.Schema {
	number := func(what string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Description: what}
	}
	text, flag := &huma.Schema{Type: huma.TypeString}, &huma.Schema{Type: huma.TypeBoolean}
	room := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"room", "from", "to", "gap", "first", "live", "messages"}, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"room": text, "gap": flag, "live": flag,
			"from":     number("the first entry that was missing"),
			"to":       number("with these the caller has everything up to here; go on from it where live is false"),
			"first":    number("the oldest entry kept"),
			"messages": {Type: huma.TypeArray, Items: &huma.Schema{}},
		},
	}
	refused := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"room", "error"}, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{"room": text, "error": (*problemDetails)(nil).Schema(r)},
	}
	return &huma.Schema{
		Type: huma.TypeObject, Required: []string{"rooms", "more"}, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{
			"rooms": {Type: huma.TypeArray, Items: &huma.Schema{OneOf: []*huma.Schema{room, refused}}},
			"more":  flag,
		},
	}
}

// registerSync serves the call by which a client that comes back learns of all its rooms at once. It is a POST since a hundred
// rooms are more than an address holds; it writes nothing.
func (a *API) registerSync(h huma.API) {
	const path = "/sync"
	huma.Register(h, huma.Operation{
		OperationID: "sync", Method: http.MethodPost, Path: path, Tags: []string{"messages"},
		Summary: "What you missed, in up to 100 rooms at once",
		Description: "By room the newest seq that you have. A room that you may not read has an error in its place. Where more is true, " +
			"ask again with the to of each room.",
		Security: byToken, MaxBodyBytes: maxSmallBody, Errors: errorsOf(http.StatusRequestTimeout, http.StatusRequestEntityTooLarge),
	}, func(ctx context.Context, in *syncRequest) (*answer[synced], error) {
		var params calls.SyncInput
		if bad := parseJSONBody(in.RawBody, &params); bad != nil {
			return nil, fail(bad)
		}
		done, err := a.read(ctx, in.Consistency)
		if err != nil {
			return nil, fail(err)
		}
		defer done()
		got, err := a.cfg.Calls.Sync(ctx, identityOf(ctx), params)
		return answered(synced{got}, err)
	})
	body := h.OpenAPI().Paths[path].Post.RequestBody
	schema := h.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[calls.SyncInput](), true, "Sync")
	body.Required = true
	body.Content = map[string]*huma.MediaType{"application/json": {Schema: schema}}
}

var _ huma.SchemaProvider = synced{}
