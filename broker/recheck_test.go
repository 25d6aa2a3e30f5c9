package broker_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Who was removed from the users file is disconnected by the reload; others stay.
func TestRemovedUsersAreDisconnected(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	hash, err := auth.HashPassword([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	users := func(names ...string) {
		t.Helper()
		text := ""
		for _, n := range names {
			text += n + ":" + hash + "\n"
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	users("alice", "bob")
	n := testcluster.Start(t, testcluster.Options{Prod: true, Set: []string{"auth.users_file=" + file}})
	type pair struct{ alice, bob *mqtttest.Client }
	all := map[mqtttest.Flavour]pair{}
	for _, as := range mqtttest.Flavours {
		all[as] = pair{
			mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: as.String()}),
			mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String()}),
		}
	}
	users("alice")
	if err := n.Reload(); err != nil {
		t.Fatal(err)
	}
	for as, p := range all {
		if got := p.bob.Ended(); got != v5(as, 0x87) {
			t.Errorf("%v: ended with %#x", as, got)
		}
		if err := p.alice.Ping(); err != nil {
			t.Errorf("%v: %v", as, err)
		}
	}
}
