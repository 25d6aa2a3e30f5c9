package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/madang-chat/madang/hooks/webhook"
	"github.com/madang-chat/madang/internal/app"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// verify is written from the text of Standard Webhooks, for a receiver: "the content to sign is id.timestamp.payload", the
// secret is what follows whsec_ in base64, the header holds signatures separated by spaces, each v1, and base64; a timestamp
// more than five minutes away is refused.
func verify(h http.Header, body []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	id, at := h.Get("webhook-id"), h.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || id == "" {
		return fmt.Errorf("id %q, timestamp %q", id, at)
	}
	if d := clock.Since(time.Unix(seconds, 0)).Abs(); d > 5*time.Minute {
		return fmt.Errorf("the timestamp is %v away", d)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	want := mac.Sum(nil)
	for s := range strings.FieldsSeq(h.Get("webhook-signature")) {
		version, sum, _ := strings.Cut(s, ",")
		got, err := base64.StdEncoding.DecodeString(sum)
		if version == "v1" && err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return fmt.Errorf("no signature fits: %q", h.Get("webhook-signature"))
}

// event is what a receiver is told.
type event struct {
	ID        string `json:"-"`
	Type      string
	Timestamp time.Time
	Namespace string
	Data      struct {
		Room  string
		Seq   uint64
		Event string
		User  string
		By    string
		Data  struct{ Text, Event, User string }

		Online []string
		Page   int
		Last   bool

		Message struct{ Data struct{ Text string } }
		Devices []struct{ Device, Provider, Token string }
	}
}

// receiver is a program that webhooks are sent to.
type receiver struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	status func(e *event) int // nil: 204
	events []event
	asked  int
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err == nil {
		err = verify(req.Header, body)
	}
	var e event
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil {
		r.t.Errorf("%v in %s", err, body)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	e.ID = req.Header.Get("webhook-id")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.status != nil {
		if s := r.status(&e); s != 0 {
			w.WriteHeader(s)
			return
		}
	}
	r.events = append(r.events, e)
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) answers(f func(e *event) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = f
}

// all is everything that was taken.
func (r *receiver) all() []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// got is what was taken of rooms, but for the one that --dev makes: that may be before the feed is on, or after.
func (r *receiver) got() []event {
	return slices.DeleteFunc(r.all(), func(e event) bool {
		return e.Data.Room == app.Lobby.Room || e.Type == webhook.TypeMessageOffline || strings.HasPrefix(e.Type, "user.")
	})
}

// has reports whether a message has been told of.
func (r *receiver) has(room string, seq uint64) bool {
	return slices.ContainsFunc(r.got(), func(e event) bool { return e.Data.Room == room && e.Data.Seq == seq })
}

// check holds what came against the promises: of each room every seq from 1 on came, none before the one before it, and
// repeats are the same under the same id.
func (r *receiver) check(room string, upto uint64) (repeats int) {
	r.t.Helper()
	last := uint64(0)
	texts := map[string]string{}
	for _, e := range r.got() {
		if e.Data.Room != room || e.Data.Seq == 0 {
			continue
		}
		if e.Data.Seq > last+1 {
			r.t.Fatalf("%s/%d came after %d", room, e.Data.Seq, last)
		}
		if e.Data.Seq <= last {
			repeats++
		}
		if text, again := texts[e.ID]; again && text != e.Data.Data.Text {
			r.t.Fatalf("%s said %q and then %q", e.ID, text, e.Data.Data.Text)
		}
		if want := fmt.Sprintf("chat/%s/%d", room, e.Data.Seq); e.ID != want {
			r.t.Fatalf("the id is %s, want %s", e.ID, want)
		}
		texts[e.ID] = e.Data.Data.Text
		last = max(last, e.Data.Seq)
	}
	if last != upto {
		r.t.Fatalf("%s was told of up to %d, want %d", room, last, upto)
	}
	return repeats
}

// configure writes a configuration with webhooks; more is what their elements say beside name, url and secret.
func configure(t *testing.T, file, url, more string) string {
	t.Helper()
	dir := t.TempDir()
	if file == "" {
		file = filepath.Join(dir, "madang.yaml")
	}
	key := filepath.Join(dir, "secret")
	text := ""
	if url != "" {
		text = fmt.Sprintf("webhooks:\n  - name: push\n    url: %s\n    secret_file: %s\n    allow_private: true\n%s", url, key, more)
	}
	for name, text := range map[string]string{key: secret, file: text} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// fed waits until a node writes the feed.
func fed(t *testing.T, n *testcluster.Node) {
	t.Helper()
	mqtttest.Eventually(t, "the feed is on", func() bool { _, _, on := n.Store().Feed(); return on })
}

// call calls the API of a node as admin.
func call(t *testing.T, n *testcluster.Node, method, path, body string, into any) int {
	t.Helper()
	status, out := webtest.Login(t, n.At().Web, "admin", "x").Send(t, method+" "+path, body)
	if into != nil {
		if err := json.Unmarshal(out, into); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return status
}

// Everything that happens in rooms is told, signed, on one node and after its restart.
func TestWebhookTells(t *testing.T) {
	to := newReceiver(t)
	n := testcluster.Start(t, testcluster.Options{File: configure(t, "", to.URL, "")})
	fed(t, n)
	alice := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "phone"})
	alice.Say("r", "one")
	for _, c := range []struct{ path, body string }{
		{"/rooms/r/invite", `{"user":"bob"}`},
		{"/rooms/r/role", `{"user":"bob","role":"operator"}`},
		{"/rooms/r/mute", `{"user":"carol","seconds":9}`},
		{"/rooms/r/freeze", ""},
		{"/rooms/r/kick", `{"user":"bob"}`},
	} {
		if status := call(t, n, http.MethodPost, c.path, c.body, nil); status != http.StatusOK {
			t.Fatalf("%s: %d", c.path, status)
		}
	}
	if status := call(t, n, http.MethodPatch, "/rooms/r", `{"name":"R"}`, nil); status != http.StatusOK {
		t.Fatal(status)
	}
	want := []string{
		"room.created alice", "message.created one", "member.invited bob", "member.role bob", "member.muted carol", "room.frozen ",
		"member.removed bob", "room.updated admin", "room.deleted admin",
	}
	mqtttest.Eventually(t, "all but the end is told", func() bool { return len(to.got()) == len(want)-1 })
	if status := call(t, n, http.MethodDelete, "/rooms/r", "", nil); status != http.StatusOK {
		t.Fatal(status)
	}
	mqtttest.Eventually(t, "all is told", func() bool { return len(to.got()) == len(want) })
	var got []string
	for _, e := range to.got() {
		if e.Namespace != "chat" || clock.Since(e.Timestamp).Abs() > time.Minute {
			t.Errorf("%+v", e)
		}
		got = append(got, e.Type+" "+e.Data.By+e.Data.Data.Text+e.Data.Data.User)
	}
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	mqtttest.Eventually(t, "the place is in the log", func() bool {
		all, err := n.Store().Webhooks()
		_, next, _ := n.Store().Feed()
		return err == nil && len(all) == 1 && all[0].Place == next-1
	})
	before := len(to.got())
	n.Restart()
	bob := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "bob", ClientID: "phone"})
	bob.Say("s", "after the restart")
	mqtttest.Eventually(t, "what comes after is told", func() bool { return to.has("s", 1) })
	for _, e := range to.got()[before:] {
		if e.Data.Room != "s" {
			t.Errorf("told again: %+v", e)
		}
	}
}

// An event that is not taken becomes a dead letter, shown to admins on HTTP, and is tried again when they say so. A new
// configuration is taken over while the node runs.
func TestWebhookDeadLetters(t *testing.T) {
	to := newReceiver(t)
	file := configure(t, "", to.URL, "    retries: [1ms, 1ms]\n    events: [message.*]\n")
	n := testcluster.Start(t, testcluster.Options{File: file})
	fed(t, n)
	to.answers(func(e *event) int {
		if e.Data.Data.Text == "bad" {
			return http.StatusInternalServerError
		}
		return 0
	})
	alice := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "phone"})
	alice.Say("r", "bad")
	alice.Say("r", "good")
	mqtttest.Eventually(t, "the good one is told", func() bool { return to.has("r", 2) })
	var dead struct {
		Dead []struct {
			Room, Error string
			Seq         uint64
			Tries       int
		}
	}
	if s := call(t, n, http.MethodGet, "/webhooks/push/dead", "", &dead); s != http.StatusOK || len(dead.Dead) != 1 {
		t.Fatalf("%d %+v", s, dead)
	}
	if d := dead.Dead[0]; d.Room != "r" || d.Seq != 1 || d.Tries != 3 || d.Error != "the receiver answered 500" {
		t.Errorf("%+v", d)
	}
	var list struct {
		Webhooks []struct {
			Name  string
			Dead  uint64
			Place uint64
		}
	}
	mqtttest.Eventually(t, "the list says so", func() bool {
		call(t, n, http.MethodGet, "/webhooks", "", &list)
		return len(list.Webhooks) == 1 && list.Webhooks[0].Name == "push" && list.Webhooks[0].Dead == 1 && list.Webhooks[0].Place >= 3
	})
	to.answers(nil)
	var retried struct{ Retried int }
	if s := call(t, n, http.MethodPost, "/webhooks/push/dead/retry", "", &retried); s != http.StatusOK || retried.Retried != 1 {
		t.Fatal(s, retried)
	}
	mqtttest.Eventually(t, "it is told after all", func() bool { return to.has("r", 1) })
	if s := call(t, n, http.MethodGet, "/webhooks/none/dead", "", nil); s != http.StatusNotFound {
		t.Error(s)
	}

	// The receiver wants no more; a reload asks it again.
	to.answers(func(*event) int { return http.StatusGone })
	alice.Say("r", "waits")
	mqtttest.Eventually(t, "it is off", func() bool {
		all, err := n.Store().Webhooks()
		return err == nil && all[0].Off && strings.Contains(all[0].Error, "410")
	})
	to.answers(nil)
	n.ReloadWith(file)
	mqtttest.Eventually(t, "what waited is told", func() bool { return to.has("r", 3) })
}

// A failover in the middle of a stream, of a leader that is cut off and goes on sending, and then the power of all nodes:
// every event comes, in the order of its room.
func TestWebhookFailover(t *testing.T) {
	to := newReceiver(t)
	file := configure(t, "", to.URL, "    retries: [5ms, 5ms, 5ms, 5ms, 5ms, 5ms, 5ms, 5ms]\n")
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{File: file, Memory: true})
	leader := c.Leader()
	fed(t, leader)
	n := 0
	to.answers(func(*event) int { // every seventh try fails
		if n++; n%7 == 0 {
			return http.StatusBadGateway
		}
		return 0
	})
	const rooms, each = 5, 60
	var seqs sync.Map
	talk := func(from int, nodes []*testcluster.Node, cut func()) {
		var wg sync.WaitGroup
		var half sync.WaitGroup
		half.Add(rooms)
		for i := range rooms {
			room := fmt.Sprint("r", i)
			p := mqtttest.Dial(t, nodes[i%len(nodes)].At(), mqtttest.Options{User: fmt.Sprint("u", i, "-", from), ClientID: "phone"})
			wg.Go(func() {
				for k := range each {
					p.Say(room, fmt.Sprint(from+k))
					if k == each/3 {
						half.Done()
					}
				}
				seqs.Store(room, uint64(from+each))
			})
		}
		half.Wait()
		cut()
		wg.Wait()
	}
	told := func() {
		for i := range rooms {
			room := fmt.Sprint("r", i)
			v, _ := seqs.Load(room)
			mqtttest.Eventually(t, "all of "+room+" is told", func() bool { return to.has(room, v.(uint64)) })
			to.check(room, v.(uint64))
		}
	}
	talk(0, c.Followers(), func() { c.Isolate(leader) })
	told()
	c.Heal()
	c.Meet()
	leader = c.Leader()
	talk(each, c.Followers(), func() {})
	c.PowerCut(rand.New(rand.NewPCG(1, 2)), func() {}, c.Nodes...)
	talk(2*each, c.Nodes, func() {})
	told()
	repeats := 0
	for i := range rooms {
		repeats += to.check(fmt.Sprint("r", i), 3*each)
	}
	t.Logf("%d events of %d came again", repeats, rooms*3*each)
}
