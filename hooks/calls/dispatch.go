package calls

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
)

// Bounds of an rpc answer.
const (
	maxAnswer  = 256 << 10 // the whole payload of me/reply
	maxRequest = 512       // around the result: the id, ok
	maxResult  = maxAnswer - maxRequest
	pageAround = 256 // of a page, around its messages
)

// Method answers one rpc method. params is a JSON object, {} when the caller sent none. The result is encoded as JSON.
// An error that is no *problem.Problem reaches the caller as Internal.
type Method func(ctx context.Context, id auth.Identity, params json.RawMessage) (any, error)

// Dispatch runs a method by its rpc name, within RPCWait. The result is at most 256 KiB with what me/reply puts around
// it. The error is a *problem.Problem; a method nobody offers is unsupported.
func (c *Calls) Dispatch(
	ctx context.Context, id auth.Identity, method string, params json.RawMessage,
) (json.RawMessage, error) {
	return c.dispatch(ctx, id, method, params, nil)
}

// dispatch looks for the method among those of the connection, those of the configuration, and the built-in ones.
func (c *Calls) dispatch(
	ctx context.Context, id auth.Identity, method string, params json.RawMessage, own map[string]Method,
) (json.RawMessage, error) {
	run := own[method]
	if run == nil {
		run = c.cfg.Methods[method]
	}
	if run == nil {
		run = c.builtIn(method)
	}
	if run == nil {
		p := problem.New(problem.Unsupported, "")
		p.Detail = fmt.Sprintf("There is no method %.40q; there are %s.", method, c.names(own)) // longer than New lets one be
		return nil, p
	}
	id, err := c.Allow(id, method)
	if err != nil {
		return nil, c.asProblem(method, err)
	}
	if len(bytes.TrimSpace(params)) == 0 || bytes.Equal(params, []byte("null")) {
		params = json.RawMessage("{}")
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RPCWait)
	defer cancel()
	result, err := run(ctx, id, params)
	if err != nil {
		return nil, c.asProblem(method, err)
	}
	out, err := encode(result)
	if err != nil {
		return nil, c.asProblem(method, err)
	}
	if len(out) > maxResult {
		return nil, problem.New(problem.TooLarge, "The answer would be larger than %d bytes; ask for less.", maxAnswer)
	}
	return out, nil
}

func (c *Calls) asProblem(method string, err error) *problem.Problem {
	p := ProblemFrom(err)
	c.cfg.Refusals.Add(p.Limit)
	if p.Code == Internal && !errors.Is(err, p) {
		c.log.Error("an rpc method failed", "method", method, "err", err)
	}
	return p
}

func (c *Calls) builtIn(method string) Method {
	if of := builtIn[method]; of != nil {
		return of(c)
	}
	return nil
}

// builtIn are the methods that need nothing of a connection.
var builtIn = map[string]func(*Calls) Method{
	"whoami": func(c *Calls) Method {
		return typed(func(ctx context.Context, id auth.Identity, _ struct{}) (Self, error) { return c.Whoami(ctx, id) })
	},
	"sync": func(c *Calls) Method {
		return typed(func(ctx context.Context, id auth.Identity, in SyncInput) (Synced, error) {
			in.budget = maxResult - pageAround
			return c.Sync(ctx, id, in)
		})
	},
	"history": func(c *Calls) Method {
		return typed(func(ctx context.Context, id auth.Identity, in HistoryInput) (Page, error) {
			in.budget = maxResult - pageAround
			return c.History(ctx, id, in)
		})
	},
	"rooms.list": func(c *Calls) Method {
		return typed(func(ctx context.Context, id auth.Identity, in RoomsListInput) (RoomsPage, error) {
			in.budget = maxResult - pageAround
			return c.RoomsList(ctx, id, in)
		})
	},
	"room.search": func(c *Calls) Method {
		return typed(func(ctx context.Context, id auth.Identity, in RoomSearchInput) (RoomsPage, error) {
			in.budget = maxResult - pageAround
			return c.RoomSearch(ctx, id, in)
		})
	},
	"search": func(c *Calls) Method {
		return typed(func(ctx context.Context, id auth.Identity, in SearchInput) (Found, error) {
			in.budget = maxResult - pageAround
			return c.Search(ctx, id, in)
		})
	},
	"room.get":     func(c *Calls) Method { return typed(c.RoomGet) },
	"room.create":  func(c *Calls) Method { return typed(c.RoomCreate) },
	"room.set":     func(c *Calls) Method { return typed(c.RoomSet) },
	"room.delete":  func(c *Calls) Method { return typed(c.RoomDelete) },
	"room.join":    func(c *Calls) Method { return typed(c.RoomJoin) },
	"room.leave":   func(c *Calls) Method { return typed(c.RoomLeave) },
	"room.invite":  func(c *Calls) Method { return typed(c.RoomInvite) },
	"read":         func(c *Calls) Method { return typed(c.Read) },
	"members":      func(c *Calls) Method { return typed(c.Members) },
	"mod.freeze":   func(c *Calls) Method { return typed(c.Freeze) },
	"mod.unfreeze": func(c *Calls) Method { return typed(c.Unfreeze) },
	"mod.slow":     func(c *Calls) Method { return typed(c.Slow) },
	"mod.mute":     func(c *Calls) Method { return typed(c.Mute) },
	"mod.unmute":   func(c *Calls) Method { return typed(c.Unmute) },
	"mod.ban":      func(c *Calls) Method { return typed(c.Ban) },
	"mod.unban":    func(c *Calls) Method { return typed(c.Unban) },
	"mod.kick":     func(c *Calls) Method { return typed(c.Kick) },
	"mod.delete":   func(c *Calls) Method { return typed(c.Delete) },
	"mod.pin":      func(c *Calls) Method { return typed(c.Pin) },
	"mod.announce": func(c *Calls) Method { return typed(c.Announce) },
	"mod.role":     func(c *Calls) Method { return typed(c.Role) },
	"presence.get": func(c *Calls) Method { return typed(c.Presence) },
	"devices.list": func(c *Calls) Method { return typed(c.Devices) },
	"devices.kick": func(c *Calls) Method { return typed(c.KickDevices) },
	"devices.push": func(c *Calls) Method { return typed(c.SetPush) },
	"mod.audit":    func(c *Calls) Method { return typed(c.Audit) },

	"contacts.list":   func(c *Calls) Method { return typed(c.Contacts) },
	"contacts.add":    func(c *Calls) Method { return typed(c.ContactAdd) },
	"contacts.remove": func(c *Calls) Method { return typed(c.ContactRemove) },
	"blocks.list":     func(c *Calls) Method { return typed(c.Blocks) },
	"blocks.add":      func(c *Calls) Method { return typed(c.BlockAdd) },
	"blocks.remove":   func(c *Calls) Method { return typed(c.BlockRemove) },
	"inbox": func(c *Calls) Method {
		return typed(func(ctx context.Context, id auth.Identity, in InboxInput) (InboxPage, error) {
			in.budget = maxResult - pageAround
			return c.Inbox(ctx, id, in)
		})
	},
	"user.register": func(c *Calls) Method { return typed(c.UserRegister) },
	"user.get":      func(c *Calls) Method { return typed(c.UserGet) },
	"user.set":      func(c *Calls) Method { return typed(c.UserSet) },
	"user.delete":   func(c *Calls) Method { return typed(c.UserDelete) },
	"user.search":   func(c *Calls) Method { return typed(c.UserSearch) },

	"state.get":      func(c *Calls) Method { return typed(c.State) },
	"state.set":      func(c *Calls) Method { return typed(c.PutState) },
	"logout":         func(c *Calls) Method { return typed(c.Logout) },
	"register_token": func(c *Calls) Method { return typed(c.RegisterToken) },
	"broadcast.list": func(c *Calls) Method {
		return typed(func(ctx context.Context, id auth.Identity, in BroadcastsInput) (Page, error) {
			in.budget = maxResult - pageAround
			return c.Broadcasts(ctx, id, in)
		})
	},
	"broadcast.post": func(c *Calls) Method {
		return func(ctx context.Context, id auth.Identity, params json.RawMessage) (any, error) {
			return c.Broadcast(ctx, id, PostInput{ContentType: "application/json", Body: params})
		}
	},

	"webhooks":       func(c *Calls) Method { return typed(c.Webhooks) },
	"webhooks.dead":  func(c *Calls) Method { return typed(c.WebhookDead) },
	"webhooks.retry": func(c *Calls) Method { return typed(c.WebhookRetry) },
}

// names lists every method, for whoever asked for another.
func (c *Calls) names(own map[string]Method) string {
	all := slices.Collect(maps.Keys(builtIn))
	for _, more := range []map[string]Method{c.cfg.Methods, own} {
		for name := range more {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// typed makes a Method of a call with typed params.
func typed[In, Out any](call func(context.Context, auth.Identity, In) (Out, error)) Method {
	return func(ctx context.Context, id auth.Identity, params json.RawMessage) (any, error) {
		var in In
		if err := Params(params, &in); err != nil {
			return nil, err
		}
		return call(ctx, id, in)
	}
}

// Params decodes the params of a method into a struct. Unknown keys and wrong types are bad_payload, saying which, and of an
// unknown key also which ones there are.
func Params(params json.RawMessage, into any) error {
	err := strictJSON(params, into)
	if err == nil {
		return nil
	}
	fault := jsonFault(err)
	if strings.HasPrefix(fault, "unknown field ") {
		fault += "; there are " + cmp.Or(strings.Join(paramNames(reflect.TypeOf(into).Elem()), " "), "none")
	}
	return problem.New(problem.BadPayload, "params: %s.", fault)
}

// paramNames are the keys that JSON has for a struct.
func paramNames(t reflect.Type) (names []string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			names = append(names, paramNames(f.Type)...)
		case f.IsExported() && name != "-":
			names = append(names, cmp.Or(name, f.Name))
		}
	}
	return names
}

// appender is a result that writes its own JSON, because messages must keep their bytes.
type appender interface{ AppendJSON(dst []byte) []byte }

func encode(result any) (json.RawMessage, error) {
	switch r := result.(type) {
	case json.RawMessage:
		return r, nil
	case appender:
		return r.AppendJSON(nil), nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(result); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
