package calls

import (
	"context"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// No way to make a room makes one that HTTP cannot reach; one that is there stays.
func TestNoRoomIsAPlaceInAPath(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AutoCreate = storage.Public })
	for _, name := range []string{".", ".."} {
		_, err := r.Post(context.Background(), as("alice"), PostInput{Room: name, Body: []byte("x")})
		_, made := r.call("alice", "room.create", `{"room":"`+name+`"}`)
		_, imported := r.ImportRoom(context.Background(), as("admin"), name, strings.NewReader(`{"madang":"room","version":1}`+"\n"+`{"end":{}}`))
		for how, c := range map[string]struct {
			got  *problem.Problem
			code problem.Code
		}{
			"a message": {ProblemFrom(err), problem.NotFound}, "room.create": {made, problem.BadPayload}, "an import": {ProblemFrom(imported), problem.BadPayload},
		} {
			if c.got == nil || c.got.Code != c.code || !strings.Contains(c.got.Detail, "URL") {
				t.Errorf("%s makes %q: %+v", how, name, c.got)
			}
		}
		if room, err := r.log.Store.Room(key(name)); room != nil || err != nil {
			t.Errorf("%q is there: %v", name, err)
		}
		r.log.Apply(&storage.RoomCreate{Room: key(name), By: storage.Actor{User: "alice"}, Kind: storage.Public})
		if _, err := r.Post(context.Background(), as("alice"), PostInput{Room: name, Body: []byte("x")}); err != nil {
			t.Errorf("one that is there: %v", err)
		}
	}
	r.must("alice", "room.create", `{"room":"..."}`)
}
