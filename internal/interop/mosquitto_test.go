package interop

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/testcluster"
)

// mosquitto runs f for each version of the protocol. The tools of 2.0 speak no WebSocket.
func mosquitto(t *testing.T, set []string, f func(t *testing.T, n *testcluster.Node, at []string)) {
	for _, version := range []string{"mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			n := testcluster.Start(t, testcluster.Options{Set: set})
			host, port, err := net.SplitHostPort(n.At().MQTT)
			if err != nil {
				t.Fatal(err)
			}
			f(t, n, []string{"-h", host, "-p", port, "-V", version})
		})
	}
}

func with(at []string, args ...string) []string { return append(slices.Clip(at), args...) }

// What mosquitto_pub sends, mosquitto_sub prints, with who said it.
func TestMosquittoTalk(t *testing.T) {
	secret := strings.Repeat("s", 32)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "bob", "name": "Bob", "level": 3, "exp": clock.Now().Add(patience * 10).Unix(),
	}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	set := []string{"auth.jwt.hmac_secret_file=" + file}
	mosquitto(t, set, func(t *testing.T, n *testcluster.Node, at []string) {
		fill(t, n, "other", 1, 1)
		sub := start(t, "mosquitto_sub", with(at, "-v", "-q", "1", "-C", "4", "-t", msgs("lobby"), "-t", "$last/1/"+msgs("other"))...)
		sub.entries(t, "other", 1, 1) // it is subscribed to both
		began := clock.UnixMilli()
		for _, args := range [][]string{
			{"-u", "alice", "-P", "x", "-q", "1", "-i", "phone", "-m", "안녕"},
			{"-u", "-", "-P", token, "-q", "2", "-i", "web", "-m", `{"cid":"c1","data":{"text":"hi, alice"}}`},
			{"-u", "alice", "-P", "x", "-q", "0", "-i", "phone", "-m", "bye"},
		} {
			if out, code := run(t, "mosquitto_pub", with(at, append(args, "-t", send("lobby"))...)...); code != 0 || out != "" {
				t.Fatalf("mosquitto_pub exits with %d: %s", code, out)
			}
		}
		got := sub.entries(t, "lobby", 1, 3)
		for i, e := range got {
			if e.TS < began || e.TS > clock.UnixMilli() || i > 0 && e.TS < got[i-1].TS {
				t.Errorf("entry %d is of %d; the test began at %d", e.Seq, e.TS, began)
			}
			got[i].TS = 0
		}
		var want [3]entry
		for i := range want {
			w := &want[i]
			w.Room, w.Seq, w.N, w.Type = "lobby", uint64(i)+1, uint64(i)+1, "text"
			w.From.User, w.From.Role, w.From.Device = "alice", "member", "phone"
		}
		want[0].Data.Text, want[2].Data.Text = "안녕", "bye"
		want[1].From.User, want[1].From.Name, want[1].From.Level, want[1].From.Device = "bob", "Bob", 3, "web"
		want[1].CID, want[1].Data.Text = "c1", "hi, alice"
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("got  %+v\nwant %+v", got[i], want[i])
			}
		}
		if code := sub.ended(t); code != 0 {
			t.Errorf("mosquitto_sub exits with %d: %s", code, &sub.stderr)
		}
	})
}

// mosquitto_sub prints what was before, then what comes.
func TestMosquittoReplay(t *testing.T) {
	mosquitto(t, nil, func(t *testing.T, n *testcluster.Node, at []string) {
		fill(t, n, "lobby", 1, 30)
		last := start(t, "mosquitto_sub", with(at, "-v", "-q", "1", "-C", "22", "-t", "$last/20/"+msgs("lobby"))...)
		since := start(t, "mosquitto_sub", with(at, "-v", "-q", "0", "-C", "7", "-t", "$since/25/"+msgs("lobby"))...)
		last.entries(t, "lobby", 11, 30)
		since.entries(t, "lobby", 26, 30)
		fill(t, n, "lobby", 31, 32)
		last.entries(t, "lobby", 31, 32)
		since.entries(t, "lobby", 31, 32)
		for _, sub := range []*program{last, since} {
			if code := sub.ended(t); code != 0 {
				t.Errorf("mosquitto_sub exits with %d: %s", code, &sub.stderr)
			}
		}
	})
}

// A session of mosquitto_sub gets what it missed, once, though the last acknowledgement comes with the DISCONNECT.
func TestMosquittoSession(t *testing.T) {
	mosquitto(t, nil, func(t *testing.T, n *testcluster.Node, at []string) {
		bob := with(at, "-v", "-u", "bob", "-P", "x", "-i", "web", "-c", "-q", "1", "-t", msgs("lobby"))
		if strings.Contains(strings.Join(at, " "), "v5") {
			bob = append(bob, "-x", "3600")
		}
		if out, code := run(t, "mosquitto_sub", with(bob, "-E")...); code != 0 {
			t.Fatalf("mosquitto_sub exits with %d: %s", code, out)
		}
		for from := uint64(1); from < 30; from += 10 {
			fill(t, n, "lobby", from, from+8)
			sub := start(t, "mosquitto_sub", with(bob, "-C", "10")...)
			sub.entries(t, "lobby", from, from+8)
			// The last comes when the SUBACK has come. mosquitto_sub closes its socket without reading on, and what it had
			// written just before, acknowledgements too, would go down with bytes that nobody has read.
			fill(t, n, "lobby", from+9, from+9)
			sub.entries(t, "lobby", from+9, from+9)
			if code := sub.ended(t); code != 0 {
				t.Fatalf("mosquitto_sub exits with %d: %s", code, &sub.stderr)
			}
		}
	})
}

// A guest's publish is settled: mosquitto_pub sends it once and leaves, and v5 says why it was refused.
func TestMosquittoGuest(t *testing.T) {
	mosquitto(t, nil, func(t *testing.T, n *testcluster.Node, at []string) {
		for _, c := range []struct {
			name, qos string
			args      []string
		}{
			{"QoS 1", "1", nil},
			{"QoS 2", "2", nil},
			{"QoS 1 with a client id", "1", []string{"-i", "phone"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				out, code := run(t, "mosquitto_pub", with(at, append(c.args, "-q", c.qos, "-d", "-t", send("lobby"), "-m", "x")...)...)
				if strings.Count(out, " sending PUBLISH ") != 1 || !strings.HasSuffix(strings.TrimSpace(out), "sending DISCONNECT") {
					t.Fatalf("mosquitto_pub exits with %d:\n%s", code, out)
				}
				if v5 := at[len(at)-1] == "mqttv5"; v5 {
					if !strings.Contains(out, "Not authorized") {
						t.Errorf("no reason is given:\n%s", out)
					}
					if c.qos == "1" && !strings.Contains(out, "Guests may only read here") { // it does not look into a PUBREC
						t.Errorf("no explanation is given:\n%s", out)
					}
				} else if code != 0 {
					t.Errorf("mosquitto_pub exits with %d:\n%s", code, out)
				}
			})
		}
		fill(t, n, "lobby", 1, 1)
		sub := start(t, "mosquitto_sub", with(at, "-v", "-C", "1", "-t", "$last/10/"+msgs("lobby"))...)
		sub.entries(t, "lobby", 1, 1) // nothing else was appended
		sub.ended(t)
	})
}
