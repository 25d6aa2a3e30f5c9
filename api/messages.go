package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
)

// bodySlack is what a message may be longer than allowed and still get the telling refusal of calls.Post.
const bodySlack = 4 << 10

// mostBody is more than any body of messages has; limits.message, which may change, bounds them (body).
const mostBody = 64 << 20

// mostOfBody is how much of a body is read: a few messages of the largest size.
func (a *API) mostOfBody() int64 {
	return max(2*int64(a.cfg.Calls.MaxMessage()), maxSmallBody) + bodySlack
}

// messageReadTimeout is for clients on slow lines to send a body of the largest size.
const messageReadTimeout = 30 * time.Second

type postRequest struct {
	Room           string `path:"room" doc:"the room's id"`
	Type           string `query:"type" doc:"message type, for bodies that are no envelope; text when not given"`
	CID            string `query:"cid" doc:"the same as Idempotency-Key"`
	IdempotencyKey string `header:"Idempotency-Key" doc:"cid: 1-64 characters; the same message sent again under it is stored once"`
	ContentType    string `header:"Content-Type" hidden:"true"`
	RawBody        []byte
}

type historyRequest struct {
	Room   string           `path:"room" doc:"the room's id"`
	Before optional[uint64] `query:"before" doc:"entries before this seq"`
	After  optional[uint64] `query:"after" doc:"entries after this seq"`
	Around optional[uint64] `query:"around" doc:"the entry with this seq and those on both sides"`
	Limit  int              `query:"limit" doc:"entries per page, 50 when not given, at most 1000" minimum:"0"`
	View   string           `query:"view" doc:"chat: messages only; log: entries as delivered" enum:"chat,log"`

	Type    string `query:"type" doc:"messages of that type"`
	Thread  uint64 `query:"thread" doc:"the message that began a thread, and those in it"`
	Mention string `query:"mention" doc:"messages that mention the user"`
	FromTS  int64  `query:"from_ts" doc:"not older, ms since the epoch" minimum:"0"`
	UntilTS int64  `query:"until_ts" doc:"older, ms since the epoch" minimum:"0"`

	Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
}

func (a *API) registerMessages(h huma.API) {
	c := a.cfg.Calls
	tags := []string{"messages"}
	huma.Register(h, huma.Operation{
		OperationID: "message.post", Method: http.MethodPost, Path: "/rooms/{room}/messages", Tags: tags,
		Summary: "Send a message",
		Description: "A body of type application/json is an envelope; any other body is the message itself, as published by MQTT. " +
			"201 means that a majority of the cluster has it on disk.",
		Security: byToken, DefaultStatus: http.StatusCreated, BodyReadTimeout: messageReadTimeout,
		MaxBodyBytes: mostBody,
		Errors: errorsOf(http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType),
	}, func(ctx context.Context, in *postRequest) (*answer[calls.Posted], error) {
		if err := a.spend(ctx, len(in.RawBody)); err != nil {
			return nil, fail(err)
		}
		return answered(c.Post(ctx, identityOf(ctx), calls.PostInput{
			Room: in.Room, ContentType: in.ContentType, Type: in.Type, CID: in.CID, IdempotencyKey: in.IdempotencyKey,
			Body: in.RawBody,
		}))
	})
	messageBody(h.OpenAPI().Paths["/rooms/{room}/messages"].Post.RequestBody)
	huma.Register(h, huma.Operation{
		OperationID: "history", Method: http.MethodGet, Path: "/rooms/{room}/messages", Tags: tags,
		Summary: "A page of a room's log", Security: byToken,
		Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *historyRequest) (*answer[calls.Page], error) {
		done, err := a.read(ctx, in.Consistency)
		if err != nil {
			return nil, fail(err)
		}
		defer done()
		return answered(c.History(ctx, identityOf(ctx), calls.HistoryInput{
			Room: in.Room, Before: in.Before.pointer(), After: in.After.pointer(), Around: in.Around.pointer(),
			Limit: in.Limit, View: in.View,
			HistoryFilter: calls.HistoryFilter{
				Type: in.Type, Thread: in.Thread, Mention: in.Mention, FromTS: in.FromTS, UntilTS: in.UntilTS,
			},
		}))
	})
}

// messageBody describes a body that is a message. It is described here and not to huma: package envelope reads bodies, and
// keeps the bytes of data.
func messageBody(body *huma.RequestBody) {
	body.Required = false // no bytes are a message too
	body.Content = map[string]*huma.MediaType{
		"application/json": {Schema: envelopeSchema()},
		"text/plain":       {Schema: &huma.Schema{Type: huma.TypeString}},
		"*/*":              {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}
}

// envelopeSchema describes the body of a message of type application/json.
func envelopeSchema() *huma.Schema {
	seq := func(what string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Description: what}
	}
	return &huma.Schema{
		Type: huma.TypeObject,
		Properties: map[string]*huma.Schema{
			"data":         {Description: "the message; in type text an object, as {\"text\":\"hello\"}"},
			"type":         {Type: huma.TypeString, Description: "message type; text when not given"},
			"cid":          {Type: huma.TypeString, Description: "1-64 characters, unique per user and room"},
			"target":       seq("seq of the entry meant"),
			"reply_to":     seq("seq of the entry answered"),
			"thread":       seq("seq of the entry that began the thread"),
			"mentions":     {Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}},
			"ttl":          seq("seconds after which the message is not delivered any more"),
			"collapse_key": {Type: huma.TypeString},
			"if_ver":       seq("condition, for state keys"),
			"meta":         {Type: huma.TypeObject, AdditionalProperties: true},
		},
		Required:             []string{"data"},
		AdditionalProperties: false,
	}
}
