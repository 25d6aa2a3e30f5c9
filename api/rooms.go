package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
)

type roomRequest struct {
	Room string `path:"room" doc:"the room's id"`
}

// roomActionRequest is for what needs no body. An object with nothing in it is taken, as the params of an rpc are.
type roomActionRequest struct {
	Room string `path:"room" doc:"the room's id"`
	Body *struct{}
}

type roomCreateRequest struct {
	Body calls.RoomCreateInput
}

// roomSetRequest repeats the room: huma does not look into an embedded struct that is not exported.
type roomSetRequest struct {
	Room string `path:"room" doc:"the room's id"`
	Body roomSettings
}

// roomSettings are the settings that PATCH changes; what is absent stays as it is.
type roomSettings struct {
	Name  *string `json:"name,omitempty" doc:"display name"`
	Kind  *string `json:"kind,omitempty" doc:"public or private"`
	Guest *string `json:"guest,omitempty" doc:"none, read or write"`

	State         *string `json:"state,omitempty" doc:"members or operators: who sets the room's state"`
	StateInterval *int64  `json:"state_interval_ms,omitempty" doc:"a reader gets each state key at most once in that time; 0 with every change"`
	LiveInterval  *int64  `json:"live_interval_ms,omitempty" doc:"the same of live values"`
	BeforeSend    *string `json:"before_send,omitempty" enum:"default,off,open,closed" doc:"whether the hook before a send is asked, and what holds without an answer"`
}

type roomGetRequest struct {
	Room        string `path:"room" doc:"the room's id"`
	Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
}

type roomsRequest struct {
	Limit int    `query:"limit" doc:"rooms per page, 100 when not given" minimum:"0" maximum:"1000000"`
	After string `query:"after" doc:"next of the page before"`

	Public bool   `query:"public" doc:"the public rooms, in place of your own"`
	Query  string `query:"q" doc:"of the public rooms those whose id or name holds this, whatever its case"`

	Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
}

// await waits before a read with consistency=strong until this node has all that was acknowledged anywhere.
func (a *API) await(ctx context.Context, consistency string) error {
	if consistency == "" || a.cfg.Barrier == nil {
		return nil
	}
	return a.cfg.Barrier(ctx)
}

// read is await for what puts a page together: then it waits for its turn. The caller calls done unless there is an error.
func (a *API) read(ctx context.Context, consistency string) (done func(), err error) {
	if err := a.await(ctx, consistency); err != nil {
		return nil, err
	}
	return a.budgets.read(ctx)
}

func (a *API) registerRooms(h huma.API) {
	c := a.cfg.Calls
	tags := []string{"rooms"}
	writes := huma.Middlewares{a.spendOne}
	huma.Register(h, huma.Operation{
		OperationID: "room.create", Method: http.MethodPost, Path: "/rooms", Tags: tags,
		Summary: "Make a room and become its owner", Security: byToken, Middlewares: writes, DefaultStatus: http.StatusCreated,
		MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden, http.StatusConflict),
	}, func(ctx context.Context, in *roomCreateRequest) (*answer[calls.RoomInfo], error) {
		return answered(c.RoomCreate(ctx, identityOf(ctx), in.Body))
	})
	huma.Register(h, huma.Operation{
		OperationID: "rooms.list", Method: http.MethodGet, Path: "/rooms", Tags: tags,
		Summary: "The rooms you are a member of, or the public ones", Security: byToken, Errors: errorsOf(),
	}, func(ctx context.Context, in *roomsRequest) (*answer[calls.RoomsPage], error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return answered(c.RoomsList(ctx, identityOf(ctx), calls.RoomsListInput{
			Limit: in.Limit, After: in.After, Public: in.Public, Query: in.Query,
		}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "room.get", Method: http.MethodGet, Path: "/rooms/{room}", Tags: tags,
		Summary: "A room you may read", Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *roomGetRequest) (*answer[calls.RoomInfo], error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return answered(c.RoomGet(ctx, identityOf(ctx), calls.RoomInput{Room: in.Room}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "room.set", Method: http.MethodPatch, Path: "/rooms/{room}", Tags: tags,
		Summary: "Change a room's settings, as an owner", Security: byToken, Middlewares: writes, MaxBodyBytes: maxSmallBody,
		Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound, http.StatusConflict),
	}, func(ctx context.Context, in *roomSetRequest) (*answer[calls.RoomInfo], error) {
		return answered(c.RoomSet(ctx, identityOf(ctx), calls.RoomSetInput{
			Room: in.Room, Name: in.Body.Name, Kind: in.Body.Kind, Guest: in.Body.Guest, State: in.Body.State,
			StateInterval: in.Body.StateInterval, LiveInterval: in.Body.LiveInterval, BeforeSend: in.Body.BeforeSend,
		}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "room.delete", Method: http.MethodDelete, Path: "/rooms/{room}", Tags: tags,
		Summary: "End a room, as an owner", Security: byToken, Middlewares: writes,
		Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *roomRequest) (*answer[calls.RoomDeleted], error) {
		return answered(c.RoomDelete(ctx, identityOf(ctx), calls.RoomInput{Room: in.Room}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "room.join", Method: http.MethodPost, Path: "/rooms/{room}/join", Tags: tags,
		Summary: "Become a member of a public room", Security: byToken, Middlewares: writes,
		MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *roomActionRequest) (*answer[calls.Membership], error) {
		return answered(c.RoomJoin(ctx, identityOf(ctx), calls.RoomInput{Room: in.Room}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "room.leave", Method: http.MethodPost, Path: "/rooms/{room}/leave", Tags: tags,
		Summary: "End your membership", Security: byToken, Middlewares: writes,
		MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *roomActionRequest) (*answer[calls.Membership], error) {
		return answered(c.RoomLeave(ctx, identityOf(ctx), calls.RoomInput{Room: in.Room}))
	})
}
