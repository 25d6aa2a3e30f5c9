package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
)

type searchRequest struct {
	Query   string `query:"q" doc:"words, all of which a message has, the last one its beginning; parts of Korean, Japanese, Chinese, Thai; \"in quotes\" as it stands"`
	Room    string `query:"room" doc:"in that room; in those you are a member of when not given"`
	From    string `query:"from" doc:"messages of that user; then q may be absent"`
	FromTS  int64  `query:"from_ts" doc:"not older, ms since the epoch" minimum:"0"`
	UntilTS int64  `query:"until_ts" doc:"older, ms since the epoch" minimum:"0"`
	Limit   int    `query:"limit" doc:"messages per page, 20 when not given, at most 100" minimum:"0"`
	Cursor  string `query:"cursor" doc:"next of the page before" maxLength:"1024"`

	Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
}

func (a *API) registerSearch(h huma.API) {
	huma.Register(h, huma.Operation{
		OperationID: "search", Method: http.MethodGet, Path: "/search", Tags: []string{"messages"},
		Summary: "Messages that say something, newest first", Security: byToken,
		Description: "A page ends when it is full or when so much has been looked through: one with few messages, or none, may have more after it.",
		Errors:      errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *searchRequest) (*answer[calls.Found], error) {
		done, err := a.read(ctx, in.Consistency)
		if err != nil {
			return nil, fail(err)
		}
		defer done()
		return answered(a.cfg.Calls.Search(ctx, identityOf(ctx), calls.SearchInput{
			Query: in.Query, Room: in.Room, From: in.From, FromTS: in.FromTS, UntilTS: in.UntilTS, Limit: in.Limit, Cursor: in.Cursor,
		}))
	})
}
