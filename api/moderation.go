package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/storage"
)

// The bodies of what those who run a room ask for. huma looks into no embedded struct that is not exported, so they are
// written out.
type (
	actRequest struct {
		Room string `path:"room" doc:"the room's id"`
		Body *struct {
			Reason string `json:"reason,omitempty" doc:"shown in the room and kept in its audit log"`
		}
	}
	slowRequest struct {
		Room string `path:"room" doc:"the room's id"`
		Body struct {
			Seconds int64  `json:"seconds" doc:"between two messages of a member; 0 ends slow mode"`
			Reason  string `json:"reason,omitempty"`
		}
	}
	onUserRequest struct {
		Room string `path:"room" doc:"the room's id"`
		Body struct {
			User   string `json:"user"`
			Reason string `json:"reason,omitempty"`
		}
	}
	forTimeRequest struct {
		Room string `path:"room" doc:"the room's id"`
		Body struct {
			User    string `json:"user"`
			Seconds int64  `json:"seconds,omitempty" doc:"0 or absent: until it is lifted"`
			Reason  string `json:"reason,omitempty"`
		}
	}
	roleRequest struct {
		Room string `path:"room" doc:"the room's id"`
		Body struct {
			User string       `json:"user"`
			Role storage.Role `json:"role" doc:"owner, operator or member"`
		}
	}
	pinRequest struct {
		Room string `path:"room" doc:"the room's id"`
		Body struct {
			Seq uint64 `json:"seq" doc:"of the message"`
			On  *bool  `json:"on,omitempty" doc:"false unpins it"`
		}
	}
	announceRequest struct {
		Room string `path:"room" doc:"the room's id"`
		Body struct {
			Text string          `json:"text,omitempty" doc:"the announcement"`
			Data json.RawMessage `json:"data,omitempty" doc:"any JSON in its place"`
		}
	}
	readRequest struct {
		Room string `path:"room" doc:"the room's id"`
		Body struct {
			Seq       uint64 `json:"seq,omitempty" doc:"everything up to here has been read"`
			Delivered uint64 `json:"delivered,omitempty" doc:"everything up to here has come to a device"`
		}
	}
	deleteMessageRequest struct {
		Room   string `path:"room" doc:"the room's id"`
		Seq    uint64 `path:"seq" doc:"of the message"`
		Reason string `query:"reason" doc:"kept in the room's audit log"`
	}
	membersRequest struct {
		Room        string `path:"room" doc:"the room's id"`
		Limit       int    `query:"limit" doc:"members per page, 100 when not given, at most 1000" minimum:"0"`
		After       string `query:"after" doc:"next of the page before"`
		Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
	}
	auditRequest struct {
		Room        string `path:"room" doc:"the room's id"`
		Limit       int    `query:"limit" doc:"acts per page, 100 when not given, at most 1000" minimum:"0"`
		Before      uint64 `query:"before" doc:"next of the page before"`
		Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
	}
)

// acts registers POST /rooms/{room}/{verb} for an act.
func acts[Request any](
	a *API, h huma.API, id, verb, summary string, do func(context.Context, *Request) (calls.Acted, error),
) {
	huma.Register(h, huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: "/rooms/{room}/" + verb, Tags: []string{"moderation"},
		Summary: summary, Security: byToken, Middlewares: huma.Middlewares{a.spendOne}, MaxBodyBytes: maxSmallBody,
		Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound, http.StatusConflict),
	}, func(ctx context.Context, in *Request) (*answer[calls.Acted], error) { return answered(do(ctx, in)) })
}

func (a *API) registerModeration(h huma.API) {
	c := a.cfg.Calls
	acts(a, h, "mod.freeze", "freeze", "Let only those who run the room write in it", func(ctx context.Context, in *actRequest) (calls.Acted, error) {
		return c.Freeze(ctx, identityOf(ctx), in.input())
	})
	acts(a, h, "mod.unfreeze", "unfreeze", "Let everybody write again", func(ctx context.Context, in *actRequest) (calls.Acted, error) {
		return c.Unfreeze(ctx, identityOf(ctx), in.input())
	})
	acts(a, h, "mod.slow", "slow", "Set how long a member waits between two messages", func(ctx context.Context, in *slowRequest) (calls.Acted, error) {
		return c.Slow(ctx, identityOf(ctx), calls.SlowInput{Room: in.Room, Seconds: in.Body.Seconds, Reason: in.Body.Reason})
	})
	acts(a, h, "mod.mute", "mute", "Keep somebody from writing", func(ctx context.Context, in *forTimeRequest) (calls.Acted, error) {
		return c.Mute(ctx, identityOf(ctx), in.input())
	})
	acts(a, h, "mod.unmute", "unmute", "Let somebody write again", func(ctx context.Context, in *onUserRequest) (calls.Acted, error) {
		return c.Unmute(ctx, identityOf(ctx), in.input())
	})
	acts(a, h, "mod.ban", "ban", "Remove somebody and keep them out", func(ctx context.Context, in *forTimeRequest) (calls.Acted, error) {
		return c.Ban(ctx, identityOf(ctx), in.input())
	})
	acts(a, h, "mod.unban", "unban", "Let somebody in again", func(ctx context.Context, in *onUserRequest) (calls.Acted, error) {
		return c.Unban(ctx, identityOf(ctx), in.input())
	})
	acts(a, h, "mod.kick", "kick", "Remove a member", func(ctx context.Context, in *onUserRequest) (calls.Acted, error) {
		return c.Kick(ctx, identityOf(ctx), in.input())
	})
	acts(a, h, "room.invite", "invite", "Make somebody a member", func(ctx context.Context, in *onUserRequest) (calls.Acted, error) {
		return c.RoomInvite(ctx, identityOf(ctx), in.input())
	})
	acts(a, h, "mod.role", "role", "Give a member a role, as an owner", func(ctx context.Context, in *roleRequest) (calls.Acted, error) {
		return c.Role(ctx, identityOf(ctx), calls.RoleInput{Room: in.Room, User: in.Body.User, Role: in.Body.Role})
	})
	acts(a, h, "mod.pin", "pin", "Pin a message, or unpin it", func(ctx context.Context, in *pinRequest) (calls.Acted, error) {
		return c.Pin(ctx, identityOf(ctx), calls.PinInput{Room: in.Room, Seq: in.Body.Seq, On: in.Body.On})
	})
	acts(a, h, "mod.announce", "announce", "Announce something to the room", func(ctx context.Context, in *announceRequest) (calls.Acted, error) {
		return c.Announce(ctx, identityOf(ctx), calls.AnnounceInput{Room: in.Room, Text: in.Body.Text, Data: in.Body.Data})
	})
	a.registerModerationReads(h)
}

func (a *API) registerModerationReads(h huma.API) {
	c := a.cfg.Calls
	huma.Register(h, huma.Operation{
		OperationID: "mod.delete", Method: http.MethodDelete, Path: "/rooms/{room}/messages/{seq}", Tags: []string{"messages"},
		Summary: "Put a stub in the place of a message", Security: byToken, Middlewares: huma.Middlewares{a.spendOne},
		Errors: errorsOf(http.StatusForbidden, http.StatusNotFound, http.StatusConflict),
	}, func(ctx context.Context, in *deleteMessageRequest) (*answer[calls.Acted], error) {
		return answered(c.Delete(ctx, identityOf(ctx), calls.OnMessageInput{Room: in.Room, Seq: in.Seq, Reason: in.Reason}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "read", Method: http.MethodPost, Path: "/rooms/{room}/read", Tags: []string{"messages"},
		Summary: "Move your read mark forward", Security: byToken, Middlewares: huma.Middlewares{a.spendOne}, MaxBodyBytes: maxSmallBody,
		Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *readRequest) (*answer[calls.ReadMark], error) {
		return answered(c.Read(ctx, identityOf(ctx), calls.ReadInput{Room: in.Room, Seq: in.Body.Seq, Delivered: in.Body.Delivered}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "members", Method: http.MethodGet, Path: "/rooms/{room}/members", Tags: []string{"rooms"},
		Summary: "The members of a room you may read", Security: byToken,
		Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *membersRequest) (*answer[calls.MembersPage], error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return answered(c.Members(ctx, identityOf(ctx), calls.MembersInput{Room: in.Room, Limit: in.Limit, After: in.After}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "mod.audit", Method: http.MethodGet, Path: "/rooms/{room}/audit", Tags: []string{"moderation"},
		Summary: "What those who run the room have done", Security: byToken,
		Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *auditRequest) (*answer[calls.AuditPage], error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return answered(c.Audit(ctx, identityOf(ctx), calls.AuditInput{Room: in.Room, Limit: in.Limit, Before: in.Before}))
	})
}

func (r *actRequest) input() calls.ActInput {
	in := calls.ActInput{Room: r.Room}
	if r.Body != nil {
		in.Reason = r.Body.Reason
	}
	return in
}

func (r *onUserRequest) input() calls.OnUserInput {
	return calls.OnUserInput{Room: r.Room, User: r.Body.User, Reason: r.Body.Reason}
}

func (r *forTimeRequest) input() calls.ForTimeInput {
	return calls.ForTimeInput{Room: r.Room, User: r.Body.User, Seconds: r.Body.Seconds, Reason: r.Body.Reason}
}
