package auth

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
)

func TestServiceKeys(t *testing.T) {
	key, line, err := NewServiceKey("game", "acme", ScopeUsers|ScopeSendAs)
	if err != nil || strings.Contains(line, key) || !strings.HasPrefix(line, "game acme send_as,users ") {
		t.Fatalf("%q, %v", line, err)
	}
	other, otherLine, _ := NewServiceKey("root", "chat", ScopeAdmin)
	path := writeFile(t, "keys", "# ours\n\n"+line+"\n"+otherLine)
	c := newChain(t, Config{ServiceKeysFile: path, Accounts: &accounts{}})
	if !c.Enabled() {
		t.Error("a key is a proof")
	}
	id, err := c.Authenticate(t.Context(), login("-", key))
	if err != nil || id.User != "svc~game" || id.Namespace != "acme" || !id.Service || id.Admin || id.Auditor || id.Guest {
		t.Errorf("%+v, %v", id, err)
	}
	for s, want := range map[Scope]bool{ScopeUsers: true, ScopeSendAs: true, ScopeRooms: false, ScopeAdmin: false, ScopeRead: false} {
		if id.May(s) != want {
			t.Errorf("may %v: %v", s, id.May(s))
		}
	}
	root, err := c.VerifyToken(t.Context(), other)
	if err != nil || !root.Admin || !root.May(ScopeRead) {
		t.Errorf("%+v, %v", root, err)
	}
	for _, bad := range []string{key + "x", key[:len(key)-1], "mdk_", line[strings.LastIndexByte(line, ' ')+1:]} {
		if _, err := c.VerifyToken(t.Context(), bad); err == nil {
			t.Errorf("%q comes in", bad)
		}
	}
	as, err := c.As(id, "ann")
	if err != nil || as.User != "ann" || as.Namespace != "acme" || as.Service || as.Admin || as.By != "svc~game" {
		t.Errorf("%+v, %v", as, err)
	}
	for who, login := range map[*Identity]string{&id: "chat/ann", {Namespace: "chat", User: "ann"}: "bob", &as: "bob"} {
		_, err := c.As(*who, login)
		wantRefusal(t, err, CodeForbidden, "")
	}
	if now, err := c.Recheck(as); err != nil || now != as {
		t.Errorf("%+v, %v, want %+v", now, err, as)
	}
	// A key that is taken out is gone with the reload; one whose scopes change has others.
	if err := os.WriteFile(path, []byte(strings.Replace(line, "send_as,users", "read", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if now, err := c.Recheck(id); err != nil || now.May(ScopeUsers) || !now.Auditor {
		t.Errorf("%+v, %v", now, err)
	}
	if _, err := c.Recheck(as); err == nil {
		t.Error("a key acts as a user without the scope for it")
	}
	if _, err := c.Recheck(root); err == nil {
		t.Error("a key that was taken out is still good")
	}
}

// A line that is wrong is named by its number, and what stands in it is not shown.
func TestServiceKeyFileFaults(t *testing.T) {
	_, line, _ := NewServiceKey("game", "chat", ScopeRead)
	for bad, says := range map[string]string{
		"secret":                                ":2: invalid configuration: a line is",
		"game chat read secret":                 "SHA-256",
		strings.Replace(line, "read", "x", 1):   "there is no scope",
		strings.Replace(line, "game", "a~b", 1): "a service is",
		strings.Replace(line, "chat", "a/b", 1): "a namespace is",
		line + "\n" + line:                      ":3: invalid key: the key is on an earlier line",
	} {
		_, err := loadServiceKeys(writeFile(t, "k", "# x\n"+bad), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzServiceKeyLine(f *testing.F) {
	_, line, _ := NewServiceKey("game", "chat", ScopeRead|ScopeUsers)
	f.Add(line)
	f.Add("a b c d")
	f.Fuzz(func(t *testing.T, line string) {
		k, err := parseServiceKey(line)
		if err != nil {
			return
		}
		again, err := parseServiceKey(fmt.Sprintf("%s %s %s %x", k.name, k.namespace, k.scopes, k.sum))
		if err != nil || again != k {
			t.Fatalf("%+v, then %+v, %v", k, again, err)
		}
	})
}
