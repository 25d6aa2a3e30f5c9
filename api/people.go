package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls"
)

type (
	peopleRequest struct {
		Limit       int    `query:"limit" doc:"users per page, 100 when not given, at most 1000" minimum:"0"`
		After       string `query:"after" doc:"next of the page before"`
		Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
	}
	personRequest struct {
		User string `path:"user" doc:"the other user"`
	}
	inboxRequest struct {
		Before      optional[uint64] `query:"before" doc:"entries before this seq"`
		After       optional[uint64] `query:"after" doc:"entries after this seq"`
		Limit       int              `query:"limit" doc:"entries per page, 50 when not given, at most 1000" minimum:"0"`
		Consistency string           `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
	}
	inboxReadRequest struct {
		Body calls.InboxReadInput
	}
	broadcastRequest struct {
		Type           string `query:"type" doc:"message type, for bodies that are no envelope; text when not given"`
		CID            string `query:"cid" doc:"the same as Idempotency-Key"`
		IdempotencyKey string `header:"Idempotency-Key" doc:"cid: 1-64 characters; the same message sent again under it is stored once"`
		ContentType    string `header:"Content-Type" hidden:"true"`
		RawBody        []byte
	}
)

// registerPeople registers what a user has beside rooms: an inbox, contacts, blocks; and what is said to everybody.
func (a *API) registerPeople(h huma.API) {
	c := a.cfg.Calls
	person(a, h, http.MethodPut, "contacts.add", "/me/contacts/{user}", "Put somebody on your list; to them it is a request", c.ContactAdd)
	person(a, h, http.MethodDelete, "contacts.remove", "/me/contacts/{user}", "Take somebody off your list, or turn a request down", c.ContactRemove)
	person(a, h, http.MethodPut, "blocks.add", "/me/blocks/{user}", "Hear nothing more of somebody", c.BlockAdd)
	person(a, h, http.MethodDelete, "blocks.remove", "/me/blocks/{user}", "Lift a block", c.BlockRemove)
	listed(a, h, "contacts.list", "/me/contacts", "Your contacts, and requests that wait for an answer", c.Contacts)
	listed(a, h, "blocks.list", "/me/blocks", "Those you have blocked", c.Blocks)
	huma.Register(h, huma.Operation{
		OperationID: "inbox", Method: http.MethodGet, Path: "/me/inbox", Tags: []string{"people"},
		Summary: "What concerns you: invited, removed, role, mentioned, contact", Security: byToken, Errors: errorsOf(http.StatusForbidden),
	}, func(ctx context.Context, in *inboxRequest) (*answer[calls.InboxPage], error) {
		done, err := a.read(ctx, in.Consistency)
		if err != nil {
			return nil, fail(err)
		}
		defer done()
		return answered(c.Inbox(ctx, identityOf(ctx), calls.InboxInput{
			Before: in.Before.pointer(), After: in.After.pointer(), Limit: in.Limit,
		}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "inbox.read", Method: http.MethodPost, Path: "/me/inbox/read", Tags: []string{"people"},
		Summary: "Move the read mark of your inbox forward", Security: byToken, Middlewares: huma.Middlewares{a.spendOne},
		MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden),
	}, func(ctx context.Context, in *inboxReadRequest) (*answer[calls.ReadMark], error) {
		return answered(c.InboxRead(ctx, identityOf(ctx), in.Body))
	})
	a.registerBroadcasts(h)
}

// person registers a change of how the caller stands with another user.
func person[Change any](
	a *API, h huma.API, method, id, path, summary string,
	do func(context.Context, auth.Identity, calls.PersonInput) (Change, error),
) {
	huma.Register(h, huma.Operation{
		OperationID: id, Method: method, Path: path, Tags: []string{"people"}, Summary: summary, Security: byToken,
		Middlewares: huma.Middlewares{a.spendOne}, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound, http.StatusConflict),
	}, func(ctx context.Context, in *personRequest) (*answer[Change], error) {
		return answered(do(ctx, identityOf(ctx), calls.PersonInput{User: in.User}))
	})
}

// listed registers a list of others that the caller keeps.
func listed[Page any](
	a *API, h huma.API, id, path, summary string, list func(context.Context, auth.Identity, calls.PeopleInput) (Page, error),
) {
	huma.Register(h, huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: path, Tags: []string{"people"}, Summary: summary, Security: byToken,
		Errors: errorsOf(http.StatusForbidden),
	}, func(ctx context.Context, in *peopleRequest) (*answer[Page], error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return answered(list(ctx, identityOf(ctx), calls.PeopleInput{Limit: in.Limit, After: in.After}))
	})
}

func (a *API) registerBroadcasts(h huma.API) {
	c := a.cfg.Calls
	tags := []string{"broadcast"}
	const path = "/broadcast"
	huma.Register(h, huma.Operation{
		OperationID: "broadcast.post", Method: http.MethodPost, Path: path, Tags: tags,
		Summary:     "Say something to everybody in the namespace, as an admin or a service key",
		Description: "The body is as that of a message to a room.",
		Security:    byToken, DefaultStatus: http.StatusCreated, BodyReadTimeout: messageReadTimeout,
		MaxBodyBytes: mostBody,
		Errors: errorsOf(http.StatusForbidden, http.StatusRequestTimeout, http.StatusConflict,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType),
	}, func(ctx context.Context, in *broadcastRequest) (*answer[calls.Posted], error) {
		if err := a.spend(ctx, len(in.RawBody)); err != nil {
			return nil, fail(err)
		}
		return answered(c.Broadcast(ctx, identityOf(ctx), calls.PostInput{
			ContentType: in.ContentType, Type: in.Type, CID: in.CID, IdempotencyKey: in.IdempotencyKey, Body: in.RawBody,
		}))
	})
	messageBody(h.OpenAPI().Paths[path].Post.RequestBody)
	huma.Register(h, huma.Operation{
		OperationID: "broadcast.list", Method: http.MethodGet, Path: path, Tags: tags,
		Summary: "A page of what was said to everybody", Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *inboxRequest) (*answer[calls.Page], error) {
		done, err := a.read(ctx, in.Consistency)
		if err != nil {
			return nil, fail(err)
		}
		defer done()
		return answered(c.Broadcasts(ctx, identityOf(ctx), calls.BroadcastsInput{
			Before: in.Before.pointer(), After: in.After.pointer(), Limit: in.Limit,
		}))
	})
}
