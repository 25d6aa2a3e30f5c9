package before_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
	"github.com/madang-chat/madang/storage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// question is what a receiver is asked.
type question struct {
	Namespace string
	Data      struct {
		Room, Type, CID string
		From            struct{ User string }
		Target          uint64
		ReplyTo         uint64 `json:"reply_to"`
		Thread          uint64
		Mentions        []string
		Meta            struct{ Link string }
		Data            struct{ Text string }
	}
	answer chan string
}

// receiver is a program that judges messages.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	hold chan *question // nil: answers at once
	hang bool
	seen []*question
}

// judge denies what is bad, and rewrites what is rude.
func judge(q *question) string {
	text := q.Data.Data.Text
	switch {
	case strings.HasPrefix(text, "bad"):
		return `{"action":"deny","reason":"No bad words"}`
	case strings.HasPrefix(text, "rude"):
		return `{"action":"replace","data":{"text":"nice` + strings.TrimPrefix(text, "rude") + `"}}`
	}
	return `{"action":"allow"}`
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	ended := t.Context()
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		q := &question{answer: make(chan string, 1)}
		if err == nil {
			err = json.Unmarshal(body, q)
		}
		if err != nil || req.Header.Get("webhook-signature") == "" {
			t.Errorf("%v in %s", err, body)
		}
		r.mu.Lock()
		r.seen = append(r.seen, q)
		hold, hang := r.hold, r.hang
		r.mu.Unlock()
		switch {
		case hang:
			select {
			case <-req.Context().Done():
			case <-ended.Done():
			}
			return
		case hold != nil:
			hold <- q
			_, _ = io.WriteString(w, <-q.answer)
		default:
			_, _ = io.WriteString(w, judge(q))
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) set(hold chan *question, hang bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold, r.hang = hold, hang
}

func (r *receiver) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// start runs a node that asks the receiver.
func start(t *testing.T, r *receiver, set ...string) *testcluster.Node {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 0o600); err != nil {
		t.Fatal(err)
	}
	return testcluster.Start(t, testcluster.Options{Set: append([]string{
		"hooks.before_send.url=" + r.URL, "hooks.before_send.secret_file=" + secret, "hooks.before_send.allow_private=true",
		"hooks.before_send.timeout=20s",
	}, set...)})
}

// texts are what a room's log holds, in order.
func texts(t *testing.T, n *testcluster.Node, room string) (out []string) {
	t.Helper()
	all, err := n.Store().Entries(storage.RoomKey{NS: "chat", Room: room}, 1, 1000, 1000, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		var m struct{ Data struct{ Text string } }
		if err := json.Unmarshal(e.JSON, &m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m.Data.Text)
	}
	return out
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// Many publishes of one client are asked about at once and answered in any order: they are in the log, and answered to the
// client, in the order they were sent, at every QoS, on every kind of connection.
func TestOrderOfOneClient(t *testing.T) {
	r := newReceiver(t)
	n := start(t, r)
	for _, as := range mqtttest.Flavours {
		for qos := range byte(3) {
			t.Run(fmt.Sprint(as, "-qos", qos), func(t *testing.T) {
				const count = 40
				room := fmt.Sprint("r.", as, ".", qos)
				hold := make(chan *question, count)
				r.set(hold, false)
				defer r.set(nil, false)
				c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: room})
				c.Subscribe("chat/me/error")
				kinds := []string{"good", "bad", "rude"}
				var want []string
				var ids []uint16
				var refused int
				for i := range count {
					kind := kinds[i%3]
					id, err := c.Send(mqtttest.Message("chat/rooms/"+room+"/send", fmt.Sprint(kind, i), qos))
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, id)
					switch kind {
					case "good":
						want = append(want, fmt.Sprint("good", i))
					case "rude":
						want = append(want, fmt.Sprint("nice", i))
					case "bad":
						refused++
					}
				}
				var all []*question
				for range count {
					all = append(all, <-hold)
				}
				rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				for _, q := range all {
					q.answer <- judge(q)
				}
				for i, id := range ids {
					if qos == 0 {
						break
					}
					pk, err := c.NextAnswer()
					if err != nil || pk.PacketID != id {
						t.Fatalf("answer %d is for %d, want %d (%v)", i, pk.PacketID, id, err)
					}
					if as.Version == mqtttest.V5 && (pk.ReasonCode >= 0x80) != (kinds[i%3] == "bad") {
						t.Errorf("answer %d: %#x", i, pk.ReasonCode)
					}
					if pk.ReasonCode >= 0x80 && pk.Properties.ReasonString != "No bad words" {
						t.Errorf("answer %d: %q", i, pk.Properties.ReasonString)
					}
				}
				for range refused {
					var e struct{ Code, Title string }
					if err := json.Unmarshal(c.Next().Payload, &e); err != nil || e.Code != "forbidden" || !strings.Contains(e.Title, "No bad words") {
						t.Fatalf("%+v, %v", e, err)
					}
				}
				watch := n.Store().Watch() // at QoS 0 nothing tells when the last one is in the log
				defer watch.Close()
				late := time.After(mqtttest.Patience)
				for waits := true; waits && len(texts(t, n, room)) < len(want); {
					select {
					case <-watch.Wake():
					case <-late:
						waits = false
					}
				}
				equal(t, "the log", texts(t, n, room), want)
			})
		}
	}
}

// login returns a token of a user.
func login(t *testing.T, n *testcluster.Node, user string) string {
	t.Helper()
	return webtest.Login(t, n.At().Web, user, "x").Token
}

func call(t *testing.T, n *testcluster.Node, token, method, path, contentType, body string) (int, []byte) {
	t.Helper()
	return webtest.Caller{Addr: n.At().Web, Token: token}.Send(t, method+" "+path, body, "Content-Type: "+contentType)
}

// Every way in is asked about: HTTP posts, bulk publishes, edits, direct messages, wills.
func TestEveryWayIn(t *testing.T) {
	r := newReceiver(t)
	n := start(t, r)
	alice := login(t, n, "alice")
	post := func(body string, status int) {
		t.Helper()
		if got, out := call(t, n, alice, "POST", "/rooms/r/messages", "application/json", body); got != status {
			t.Errorf("%s: %d %s", body, got, out)
		}
	}
	post(`{"data":{"text":"good"},"cid":"a"}`, 201)
	post(`{"data":{"text":"rude"},"cid":"b"}`, 201)
	post(`{"data":{"text":"bad"},"cid":"c"}`, 403)
	// Sent again it is the same message, though what is in the log is another; and it is not asked about.
	before := r.asked()
	status, out := call(t, n, alice, "POST", "/rooms/r/messages", "application/json", `{"data":{"text":"rude"},"cid":"b"}`)
	if status != 201 || !strings.Contains(string(out), `"seq":2,`) || !strings.Contains(string(out), `"duplicate":true`) || r.asked() != before {
		t.Errorf("sent again: %d %s, asked %d times", status, out, r.asked()-before)
	}
	post(`{"data":{"text":"nice"},"cid":"b"}`, 409) // the same cid, other content
	if got, out := call(t, n, alice, "POST", "/rooms/r/messages?type=edit", "application/json", `{"target":1,"data":{"text":"rude edit"}}`); got != 201 {
		t.Errorf("edit: %d %s", got, out)
	}
	bulk := `[{"topic":"chat/rooms/r/send","payload":"good 1"},{"topic":"chat/rooms/r/send","payload":"bad 2"},{"topic":"chat/users/bob/send","payload":"rude 3"},{"topic":"chat/rooms/r/send","payload":"good 4"}]`
	got, out := call(t, n, alice, "POST", "/publish/bulk", "application/json", bulk)
	if got != 200 || strings.Count(string(out), "No bad words") != 1 || strings.Count(string(out), `"seq"`) != 3 {
		t.Errorf("bulk: %d %s", got, out)
	}
	equal(t, "the room", texts(t, n, "r"), []string{"good", "nice", "nice edit", "good 1", "good 4"})
	equal(t, "the direct room", texts(t, n, "dm~alice~bob"), []string{"nice 3"})

	for _, keep := range []bool{false, true} {
		will := mqtttest.Message("chat/rooms/wills/send", fmt.Sprint("bad will ", keep), 1)
		o := mqtttest.Options{Flavour: mqtttest.Flavour{Version: mqtttest.V5}, User: "carol", ClientID: fmt.Sprint(keep), Keep: keep, Will: &will}
		c := mqtttest.Dial(t, n.At(), o)
		if got := c.Connack.Properties.ReasonString; !strings.Contains(got, "No bad words") {
			t.Errorf("CONNACK says %q", got)
		}
		rude := mqtttest.Message("chat/rooms/wills/send", fmt.Sprint("rude will ", keep), 1)
		o.Will, o.ClientID = &rude, fmt.Sprint(keep, " rude")
		c = mqtttest.Dial(t, n.At(), o)
		if err := c.Raw([]byte{0xf0 | byte(packets.Disconnect), 0}); err != nil { // nonsense ends the connection
			t.Fatal(err)
		}
	}
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "dave", ClientID: "d"})
	reader.Subscribe("$last/10/chat/rooms/wills/msg/#")
	seen := map[string]bool{}
	for range 2 {
		var m struct{ Data struct{ Text string } }
		if err := json.Unmarshal(reader.Next().Payload, &m); err != nil {
			t.Fatal(err)
		}
		seen[m.Data.Text] = true
	}
	if !seen["nice will false"] || !seen["nice will true"] {
		t.Errorf("wills are %v", seen)
	}
}

// A receiver that hangs costs its time-out; then what the configuration says holds, or what the room says.
func TestWithoutAnAnswer(t *testing.T) {
	r := newReceiver(t)
	n := start(t, r, "hooks.before_send.timeout=20ms", "hooks.before_send.rooms=mod.*")
	alice := login(t, n, "alice")
	for _, room := range []string{"mod.default", "mod.closed", "mod.off", "open"} {
		if status, out := call(t, n, alice, "POST", "/rooms", "application/json", `{"room":"`+room+`","kind":"public"}`); status != 201 {
			t.Fatalf("%d %s", status, out)
		}
	}
	set := func(token, room, to string, want int) {
		t.Helper()
		status, out := call(t, n, token, "PATCH", "/rooms/"+room, "application/json", `{"before_send":"`+to+`"}`)
		if status != want || want == 200 && !strings.Contains(string(out), `"before_send":"`+to+`"`) {
			t.Errorf("%s to %s: %d %s", room, to, status, out)
		}
	}
	set(alice, "mod.closed", "closed", 200)
	set(alice, "mod.off", "off", 200)
	set(alice, "open", "nonsense", 400)
	set(login(t, n, "bob"), "open", "closed", 403)
	r.set(nil, true)
	for _, as := range mqtttest.Flavours {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: as.String()})
		c.Subscribe("chat/me/error")
		for _, room := range []string{"mod.default", "mod.off", "open"} {
			if ack := c.Say(room, "bad "+as.String()); ack.ReasonCode >= 0x80 {
				t.Errorf("%s: %#x", room, ack.ReasonCode)
			}
		}
		ack := c.Publish(mqtttest.Message("chat/rooms/mod.closed/send", "good", 1))
		if as.Version == mqtttest.V5 && ack.ReasonCode != 0x97 {
			t.Errorf("mod.closed: %#x", ack.ReasonCode)
		}
		var e struct {
			Code   string
			Status int
		}
		if err := json.Unmarshal(c.Next().Payload, &e); err != nil || e.Code != "rate_limited" || e.Status != 503 {
			t.Errorf("%+v, %v", e, err)
		}
	}
	if got := texts(t, n, "mod.closed"); len(got) > 0 {
		t.Errorf("a closed room took %q", got)
	}
	if asked := r.asked(); asked > 8 { // 5 until the breaker opens, and who finds out whether it is back
		t.Errorf("%d questions to a receiver that hangs", asked)
	}
	if n.Metric("madang_before_send_broken") != 1 || n.Metric("madang_before_send_skipped_total") == 0 {
		t.Error("the metrics do not say that nobody is asked")
	}
}

// Who judges sees all that a message says, and announcements too; one that is rewritten is announced so.
func TestAllOfAMessageIsJudged(t *testing.T) {
	r := newReceiver(t)
	n := start(t, r)
	alice := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "a"})
	alice.Say("r", "first")
	alice.Publish(mqtttest.Message("chat/rooms/r/send", `{"data":{"text":"see"},"reply_to":1,"thread":1,"mentions":["bob"],"meta":{"link":"x"}}`, 1))
	q := r.seen[len(r.seen)-1].Data
	if q.Data.Text != "see" || q.ReplyTo != 1 || q.Thread != 1 || len(q.Mentions) != 1 || q.Mentions[0] != "bob" || q.Meta.Link != "x" {
		t.Errorf("asked about %+v", q)
	}
	session := webtest.Login(t, n.At().Web, "alice", "x")
	if status, body := session.Send(t, "POST /rooms/r/announce", `{"text":"bad news"}`); status != http.StatusForbidden {
		t.Errorf("%d %s", status, body)
	}
	if status, body := session.Send(t, "POST /rooms/r/announce", `{"text":"rude"}`); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if q := r.seen[len(r.seen)-1].Data; q.Type != "announce" || q.From.User != "alice" {
		t.Errorf("asked about %+v", q)
	}
	all, err := n.Store().Entries(storage.RoomKey{NS: "chat", Room: "r"}, 3, 9, 9, 1<<20)
	if err != nil || len(all) != 1 || !strings.Contains(string(all[0].JSON), `{"text":"nice"}`) {
		t.Errorf("%v, %d: %s", err, len(all), all[0].JSON)
	}
}
