package calls

import (
	"context"
	"encoding/json"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// StateInput names a state key.
type StateInput struct {
	Room string `json:"room"`
	Key  string `json:"key"`
}

// StateSet is the result of SetState.
type StateSet struct {
	Room string `json:"room"`
	Key  string `json:"key"`
	Ver  uint64 `json:"ver"`
	Seq  uint64 `json:"seq"` // head of the room's log when it was set
	TS   int64  `json:"ts"`  // ms since the epoch
}

// State returns the value of a state key of a room the caller may read, as it is delivered.
func (c *Calls) State(_ context.Context, id auth.Identity, in StateInput) (json.RawMessage, error) {
	room, _, err := c.readable(id, in.Room)
	if err != nil {
		return nil, err
	}
	if !topic.ValidType(in.Key) {
		return nil, noStateKey(in.Key)
	}
	v, err := c.cfg.Store.State(room.Key, in.Key)
	if err != nil {
		return nil, c.broken(err)
	}
	if v == nil || v.Deleted {
		return nil, noStateKey(in.Key)
	}
	return v.JSON, nil
}

func noStateKey(key string) error {
	return problem.New(problem.NotFound, "The room has no state %.40q.", key)
}

// SetState sets a state key to the body of a PUT, or deletes it when there is none.
func (c *Calls) SetState(ctx context.Context, id auth.Identity, in StateInput, contentType string, body []byte) (StateSet, error) {
	cmd, err := c.stateOf(id, in.Room, in.Key, len(body), func() (envelope.Message, *problem.Problem) {
		return envelope.ParseHTTP(contentType, stateType, "", "", body)
	})
	if err != nil {
		return StateSet{}, err
	}
	res, err := c.write(ctx, cmd)
	if err != nil {
		return StateSet{}, err
	}
	err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		v, err := c.cfg.Store.State(cmd.Room, in.Key)
		return v != nil && v.Ver >= res.Epoch || v == nil && cmd.Data == nil, err
	})
	if err != nil {
		return StateSet{}, c.broken(err)
	}
	return StateSet{Room: in.Room, Key: in.Key, Ver: res.Epoch, Seq: res.Seq, TS: res.TS}, nil
}

// StateSetInput are the params of state.set.
type StateSetInput struct {
	Room  string          `json:"room"`
	Key   string          `json:"key"`
	Data  json.RawMessage `json:"data,omitempty"`   // absent or null: the key is deleted
	IfVer *uint64         `json:"if_ver,omitempty"` // the version it must have; 0 = it must not be set
}

// PutState is SetState for a value that is JSON. As over HTTP a condition needs data beside it, which may be null.
func (c *Calls) PutState(ctx context.Context, id auth.Identity, in StateSetInput) (StateSet, error) {
	var body []byte
	if in.Data != nil || in.IfVer != nil {
		var err error
		body, err = encode(struct {
			Data  json.RawMessage `json:"data,omitempty"`
			IfVer *uint64         `json:"if_ver,omitempty"`
		}{in.Data, in.IfVer})
		if err != nil {
			return StateSet{}, err
		}
	}
	return c.SetState(ctx, id, StateInput{Room: in.Room, Key: in.Key}, "application/json", body)
}

// stateType is what the value of a state key is parsed as: any JSON, or bytes.
const stateType = "state"

// DraftState returns the command of a publish to state/{key}; the session is the caller's to add. It does not alias the
// payload. An empty payload deletes the key.
func (c *Calls) DraftState(id auth.Identity, room, key string, payload []byte, opt envelope.Options) (*storage.SetState, error) {
	return c.stateOf(id, room, key, len(payload), func() (envelope.Message, *problem.Problem) {
		return envelope.Parse(stateType, payload, opt)
	})
}

func (c *Calls) stateOf(
	id auth.Identity, room, key string, size int, parse func() (envelope.Message, *problem.Problem),
) (*storage.SetState, error) {
	if err := noGuest(id, "set state"); err != nil {
		return nil, err
	}
	k, err := roomKey(id, room)
	if err != nil {
		return nil, err
	}
	if !topic.ValidType(key) {
		return nil, noStateKey(key)
	}
	cmd := &storage.SetState{Room: k, From: ActorOf(id), Key: key, MaxKeys: uint64(c.limits().StateKeys)}
	if size == 0 {
		return c.spent(cmd, 0)
	}
	most := c.limits().StateValue
	if most <= 0 {
		most = c.limits().Message
	}
	if size > most {
		return nil, problem.Over(problem.TooLarge, limit.StateValue, "A state value has at most %d bytes; this one has %d.", most, size)
	}
	m, p := parse()
	if p != nil {
		return nil, p
	}
	if m.TTL != 0 {
		return nil, problem.New(problem.BadPayload, "A state value takes no ttl, nor a Message Expiry Interval: it stays until it is set again or deleted.")
	}
	cmd.Data, cmd.Base64, cmd.IfVer = append([]byte(nil), m.Data...), m.Base64, m.IfVer
	if string(cmd.Data) == "null" { // {"data":null}: how a deletion is made conditional
		cmd.Data = nil
	}
	return c.spent(cmd, size)
}

// spent takes a state from what its room may take.
func (c *Calls) spent(cmd *storage.SetState, bytes int) (*storage.SetState, error) {
	if p := c.spendRoom(cmd.Room, bytes); p != nil {
		return nil, p
	}
	return cmd, nil
}
