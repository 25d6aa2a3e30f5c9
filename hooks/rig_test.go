package hooks_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/calls/callstest"
	"github.com/madang-chat/madang/storage"
)

// rooms is a store in which rooms can be frozen and users made operators, for which there is no command yet, and which
// can fail.
type rooms struct {
	*storage.Store
	log       *callstest.Log
	frozen    map[string]bool
	operators map[string]string // room -> user
	err       error
}

func (r *rooms) Room(k storage.RoomKey) (*storage.Room, error) {
	if r.err != nil {
		return nil, r.err
	}
	room, err := r.Store.Room(k)
	if room != nil && r.frozen[k.Room] {
		cold := *room
		cold.Frozen = true
		room = &cold
	}
	return room, err
}

func (r *rooms) Member(k storage.RoomKey, user string) (storage.Member, error) {
	if r.err != nil {
		return storage.Member{}, r.err
	}
	if user != "" && r.operators[k.Room] == user {
		return storage.Member{Role: storage.RoleOperator}, nil
	}
	return r.Store.Member(k, user)
}

// memberFails is a store that knows rooms and fails for their members.
type memberFails struct{ *rooms }

func (memberFails) Member(storage.RoomKey, string) (storage.Member, error) {
	return storage.Member{}, errors.New("disk on fire")
}

// newRules returns rules over rooms of alice: pub, open (guests write), shut (guests read nothing), priv with bob as a
// member and oscar as an operator, dm~alice~bob, and frozen ones: fpub, fopen, fpriv.
func newRules(t testing.TB) (*hooks.Publishing, *rooms) {
	t.Helper()
	log := callstest.NewLog(t, storage.Options{Dir: "data", FS: vfs.NewMem()})
	alice := storage.Actor{User: "alice"}
	for _, c := range []storage.Command{
		&storage.RoomCreate{Room: key("pub"), By: alice, Kind: storage.Public},
		&storage.RoomCreate{Room: key("open"), By: alice, Kind: storage.Public, Guest: storage.GuestWrite},
		&storage.RoomCreate{Room: key("shut"), By: alice, Kind: storage.Public, Guest: storage.GuestNone},
		&storage.RoomCreate{Room: key("priv"), By: alice, Kind: storage.Private},
		&storage.Append{
			Room: key("dm~alice~bob"), From: alice, Type: "text", Tail: []byte(`,"data":{"text":"hi"}`), AutoCreate: storage.Direct,
		},
		&storage.RoomCreate{Room: key("fpub"), By: alice, Kind: storage.Public},
		&storage.RoomCreate{Room: key("fopen"), By: alice, Kind: storage.Public, Guest: storage.GuestWrite},
		&storage.RoomCreate{Room: key("fpriv"), By: alice, Kind: storage.Private},
		&storage.Join{Room: key("priv"), By: storage.Actor{User: "bob", Admin: true}},
		&storage.Join{Room: key("fpriv"), By: storage.Actor{User: "bob", Admin: true}},
	} {
		if r := log.Apply(c); r.Outcome != storage.Done {
			t.Fatalf("%T: %+v", c, r)
		}
	}
	store := &rooms{
		Store:     log.Store,
		log:       log,
		frozen:    map[string]bool{"fpub": true, "fopen": true, "fpriv": true},
		operators: map[string]string{"priv": "oscar", "fpub": "oscar", "fpriv": "oscar"},
	}
	c := calls.New(calls.Config{Log: log, Store: store, Auth: &callstest.Tokens{}})
	return &hooks.Publishing{Access: hooks.Access{Rooms: store}, Posting: c}, store
}

func key(room string) storage.RoomKey { return storage.RoomKey{NS: "chat", Room: room} }

// as returns the identity of a token of callstest.Tokens; "" is a guest without one.
func as(token string) auth.Identity {
	tokens := &callstest.Tokens{}
	if token == "" {
		id, err := tokens.Guest()
		if err != nil {
			panic(err)
		}
		return id
	}
	id, err := tokens.VerifyToken(context.Background(), token)
	if err != nil {
		panic(err)
	}
	return id
}
