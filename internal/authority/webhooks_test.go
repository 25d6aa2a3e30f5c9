package authority

import (
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// Webhooks hear of every namespace: they are for admins of the default one, over HTTP and by rpc.
func TestWebhooksAreTheAdmins(t *testing.T) {
	s := newStage(t)
	for i, r := range cast {
		c := s.dial(r, mqtttest.Flavours[i%len(mqtttest.Flavours)])
		c.Subscribe(r.namespace() + "/me/reply")
		for op := range elsewhere {
			var code string
			params := map[string]any{}
			if strings.Contains(op, ".") || strings.Contains(op, "{name}") {
				params["name"] = "none"
			}
			switch {
			case strings.Contains(op, " /webhooks"):
				code = verdict(s.ask(r, op, params))
			case strings.HasPrefix(op, "webhooks"):
				code = rpc(t, c, r, op, params)
			default:
				continue
			}
			want := "forbidden"
			if r == admin {
				want = "not_found"
				if len(params) == 0 {
					want = ""
				}
			}
			if code != want && (r == admin || code != "guest_read_only" && code != "unauthenticated") {
				t.Errorf("%s: %s: %q, want %q", r, op, code, want)
			}
		}
	}
}
