package broker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A connection with a token is warned before its end, lives on with a new one of the same user, and ends with it; the
// session stays.
func TestTokenEndsAndIsRenewed(t *testing.T) {
	t.Parallel()
	key := []byte(strings.Repeat("k", 32))
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	n := testcluster.Start(t, testcluster.Options{Set: []string{"auth.jwt.hmac_secret_file=" + file}})
	token := func(user string, lasts time.Duration) string {
		t.Helper()
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": user, "exp": time.Now().Add(lasts).Unix(),
		}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			o := mqtttest.Options{Flavour: as, User: "-", Password: token("bob", 30*time.Second), ClientID: as.String(), Keep: true}
			c := mqtttest.Dial(t, n.At(), o)
			c.Subscribe("chat/me/error", "chat/me/reply")
			if pk := c.Next(); !strings.Contains(string(pk.Payload), `"op":"session"`) || !strings.Contains(string(pk.Payload), `"code":"token_expiring"`) {
				t.Errorf("%s %s", pk.TopicName, pk.Payload)
			}
			calls := 0
			renew := func(text string) string {
				t.Helper()
				calls++
				c.Publish(mqtttest.Message("chat/me/rpc/auth.renew", fmt.Sprintf(`{"id":%d,"params":{"token":%q}}`, calls, text), 1))
				for {
					if pk := c.Next(); pk.TopicName == "chat/me/reply" {
						return string(pk.Payload)
					}
				}
			}
			if answer := renew(token("mallory", time.Hour)); !strings.Contains(answer, `"code":"forbidden"`) {
				t.Errorf("another user's token: %s", answer)
			}
			if answer := renew("no token"); !strings.Contains(answer, `"ok":false`) {
				t.Errorf("no token: %s", answer)
			}
			if answer := renew(token("bob", time.Hour)); !strings.Contains(answer, `"ok":true`) || !strings.Contains(answer, `"expires_at":1`) {
				t.Errorf("a good token: %s", answer)
			}
			if as.Version == mqtttest.V5 {
				pk := packets.Packet{ProtocolVersion: mqtttest.V5, FixedHeader: packets.FixedHeader{Type: packets.Auth}, ReasonCode: 0x19}
				pk.Properties.AuthenticationMethod, pk.Properties.AuthenticationData = "JWT", []byte(token("bob", time.Hour))
				b, err := mqtttest.Encode(&pk)
				if err == nil {
					err = c.Raw(b)
				}
				if err != nil {
					t.Fatal(err)
				}
				answer, err := c.NextAnswer()
				if err != nil || answer.FixedHeader.Type != packets.Auth || answer.ReasonCode != 0 || answer.Properties.AuthenticationMethod != "JWT" {
					t.Errorf("AUTH answered by %+v, %v", answer, err)
				}
			}
			renew(token("bob", 2*time.Second))
			if got := c.Ended(); got != v5(as, 0xa0) {
				t.Errorf("ended with %#x", got)
			}
			o.Password = token("bob", time.Hour)
			if !mqtttest.Dial(t, n.At(), o).Connack.SessionPresent {
				t.Error("the session did not stay")
			}
		})
	}
}
