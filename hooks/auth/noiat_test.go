package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/storage"
)

// A token that does not say when it was issued is told so after a logout: it can never be newer.
func TestTokensWithoutIssueTimeAreToldSo(t *testing.T) {
	u := &storage.User{EndedAll: 1, NotBefore: 1000}
	for issued, want := range map[time.Time]string{{}: "no iat", time.Unix(1, 0): "logged out"} {
		r := left(Identity{Method: MethodJWT, Issued: issued}, u)
		if r == nil || !strings.Contains(r.Title, want) {
			t.Errorf("issued %v: %v, want %q", issued, r, want)
		}
	}
	if r := left(Identity{Method: MethodJWT, Issued: time.Unix(2, 0)}, u); r != nil {
		t.Errorf("one that is newer: %v", r)
	}
}
