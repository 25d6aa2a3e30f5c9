package auth

import (
	"context"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// A token of the broker's own ends by the clock of the node that is asked, for as long as that is wrong; and it is none too
// early for a node whose clock was set back since, or is behind that of the node that issued it.
func TestClockSetBackAfterLogin(t *testing.T) {
	c := newChain(t, Config{UsersFile: cheapUsers(t, nil), Guest: GuestRead})
	token, _, _, err := c.GuestToken("x", 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		step time.Duration
		code string
	}{{time.Hour, ""}, {-time.Hour, ""}, {24 * time.Hour, CodeTokenExpired}, {-24 * time.Hour, ""}, {0, ""}} {
		restore := clock.Step(tt.step)
		_, err := c.VerifyToken(context.Background(), token)
		restore()
		if tt.code != "" {
			wantRefusal(t, err, tt.code, "expired")
		} else if err != nil {
			t.Errorf("%v: %v", tt.step, err)
		}
	}
}
