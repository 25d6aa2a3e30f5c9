package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// stateOf is a delivered state value.
type stateOf struct {
	Room, Key string
	Ver, Seq  uint64
	TS        int64
	From      struct{ User, Role string }
	Data      json.RawMessage
	Deleted   bool
}

// State is a last value: told with each change, given to a new subscriber, retained, with its version; conditional where a
// writer wants it; kept over a restart.
func TestState(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		owner := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "owner-" + as.String(), ClientID: "o"})
		owner.Say(room, "hello")
		reader := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: as.String()})
		reader.Subscribe("chat/rooms/" + room + "/state/+")
		set := func(key, payload string) byte {
			t.Helper()
			return owner.Publish(mqtttest.Message("chat/rooms/"+room+"/state/"+key, payload, 1)).ReasonCode
		}
		next := func(c *mqtttest.Client, key string, ver uint64, data string, kept bool) {
			t.Helper()
			pk := c.Next()
			var v stateOf
			if err := json.Unmarshal(pk.Payload, &v); err != nil {
				t.Fatalf("%s: %v", pk.Payload, err)
			}
			if pk.TopicName != "chat/rooms/"+room+"/state/"+key || v.Key != key || v.Ver != ver || string(v.Data) != data || v.Seq != 1 ||
				v.From.User != "owner-"+as.String() || v.From.Role != "owner" || pk.FixedHeader.Retain != kept || v.Deleted != (data == "") {
				t.Errorf("%s, retain %v: %s", pk.TopicName, pk.FixedHeader.Retain, pk.Payload)
			}
		}
		set("score", `{"home":1}`)
		next(reader, "score", 1, `{"home":1}`, false)
		set("score", `{"data":[2],"if_ver":1}`)
		next(reader, "score", 2, `[2]`, false)
		if code := set("score", `{"data":[3],"if_ver":1}`); as.Version == mqtttest.V5 && code < 0x80 {
			t.Errorf("a write to an old version was taken: %#x", code)
		}
		set("clock", "12:00")
		next(reader, "clock", 1, `"12:00"`, false)
		late := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "late", ClientID: as.String()})
		late.Subscribe("chat/rooms/" + room + "/state/score")
		next(late, "score", 2, `[2]`, true)
		set("score", "")
		next(late, "score", 3, "", false)
		next(reader, "score", 3, "", false)
		late.Subscribe("chat/rooms/" + room + "/state/#") // again: what is deleted is not kept
		next(late, "clock", 1, `"12:00"`, true)
		if got := head(t, n, room); got != 1 {
			t.Errorf("%d entries", got)
		}
		stranger := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "stranger", ClientID: as.String()})
		stranger.Subscribe("chat/me/error")
		stranger.Publish(mqtttest.Message("chat/rooms/"+room+"/state/clock", "x", 1))
		if e := string(stranger.Next().Payload); !strings.Contains(e, `"code":"not_member"`) {
			t.Errorf("%s", e)
		}
		quiet(t, reader)
	})
}

func TestStateSurvivesARestart(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Memory: true})
	owner := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "owner", ClientID: "o"})
	owner.Say("r", "hello")
	owner.Publish(mqtttest.Message("chat/rooms/r/state/k", `1`, 1))
	owner.Publish(mqtttest.Message("chat/rooms/r/state/k", `2`, 1))
	n.Restart()
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/r/state/#")
	if pk := reader.Next(); !pk.FixedHeader.Retain || !strings.Contains(string(pk.Payload), `"ver":2`) {
		t.Errorf("%s", pk.Payload)
	}
}

// Five hundred riders report all the time: with an interval a reader gets each of them at most once in it, the newest in
// the end.
func TestStateInterval(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	owner := caller(t, n, mqtttest.Flavours[1], "owner")
	call(t, owner, "room.create", `{"room":"riders","kind":"public"}`)
	call(t, owner, "room.set", `{"room":"riders","state_interval_ms":1000}`)
	const riders, rounds = 50, 20
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/riders/state/+")
	began := time.Now()
	for round := range rounds {
		for i := range riders {
			owner.Publish(mqtttest.Message(fmt.Sprint("chat/rooms/riders/state/rider", i), fmt.Sprint(round), 1))
		}
	}
	told, newest := map[string]int{}, map[string]string{}
	done := func() bool {
		for i := range riders {
			if newest[fmt.Sprint("rider", i)] != fmt.Sprintf("%q", fmt.Sprint(rounds-1)) {
				return false
			}
		}
		return true
	}
	for !done() {
		var v stateOf
		if err := json.Unmarshal(reader.Next().Payload, &v); err != nil {
			t.Fatal(err)
		}
		told[v.Key]++
		newest[v.Key] = string(v.Data)
	}
	most := 2 + int(time.Since(began)/time.Second)
	for key, n := range told {
		if n > most {
			t.Errorf("%s was told %d times in %v", key, n, time.Since(began))
		}
	}
}

// Live values keep to an interval too.
func TestLiveInterval(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	owner := caller(t, n, mqtttest.Flavours[1], "owner")
	call(t, owner, "room.create", `{"room":"riders","kind":"public"}`)
	call(t, owner, "room.set", `{"room":"riders","live_interval_ms":1000}`)
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/riders/live/#")
	const last = 300
	began := time.Now()
	for i := range last + 1 {
		owner.Publish(mqtttest.Message("chat/rooms/riders/live/at/owner", fmt.Sprint(i), 0))
	}
	told := 0
	for {
		told++
		if string(reader.Next().Payload) == fmt.Sprint(last) {
			break
		}
	}
	if most := 2 + int(time.Since(began)/time.Second); told > most {
		t.Errorf("told %d times in %v", told, time.Since(began))
	}
}

// A reader that takes nothing has the newest of every key when it reads on.
func TestStateWaitsForASlowReader(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	owner := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "owner", ClientID: "o"})
	owner.Say("r", "hello")
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/r/state/+")
	reader.Pause()
	const keys, rounds = 40, 10
	large := strings.Repeat("x", 20<<10)
	for round := range rounds {
		for k := range keys {
			owner.Publish(mqtttest.Message(fmt.Sprint("chat/rooms/r/state/k", k), fmt.Sprintf(`{"round":%d,"text":%q}`, round, large), 1))
		}
	}
	reader.Unpause()
	newest := map[string]int{}
	mqtttest.Eventually(t, "the newest of each key is there", func() bool {
		for reader.Waiting() > 0 {
			var v stateOf
			var d struct{ Round int }
			if err := json.Unmarshal(reader.Next().Payload, &v); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(v.Data, &d); err != nil || d.Round < newest[v.Key] {
				t.Fatalf("%s: round %d after %d, %v", v.Key, d.Round, newest[v.Key], err)
			}
			newest[v.Key] = d.Round
		}
		for k := range keys {
			if newest[fmt.Sprint("k", k)] != rounds-1 {
				return false
			}
		}
		return true
	})
}

// What waits for its time is told when the interval ends.
func TestStateIntervalEnds(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	owner := caller(t, n, mqtttest.Flavours[1], "owner")
	call(t, owner, "room.create", `{"room":"r","kind":"public"}`)
	call(t, owner, "room.set", `{"room":"r","state_interval_ms":60000}`)
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/r/state/a")
	for i := range 3 {
		owner.Publish(mqtttest.Message("chat/rooms/r/state/a", fmt.Sprint(i), 1))
	}
	if pk := reader.Next(); !strings.Contains(string(pk.Payload), `"data":"0"`) {
		t.Errorf("%s", pk.Payload)
	}
	quiet(t, reader)
	call(t, owner, "room.set", `{"room":"r","state_interval_ms":0}`)
	owner.Publish(mqtttest.Message("chat/rooms/r/state/b", "x", 1))
	if pk := reader.Next(); !strings.Contains(string(pk.Payload), `"data":"2"`) {
		t.Errorf("%s", pk.Payload)
	}
}

// A new subscriber gets all of a large state, page by page.
func TestLargeState(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	owner := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "owner", ClientID: "o"})
	owner.Say("r", "hello")
	const keys = 300
	for i := range keys {
		owner.Publish(mqtttest.Message(fmt.Sprint("chat/rooms/r/state/k", i), "x", 1))
	}
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/r/state/+")
	got := map[string]bool{}
	for range keys {
		pk := reader.Next()
		if got[pk.TopicName] || !pk.FixedHeader.Retain {
			t.Errorf("%s, retain %v", pk.TopicName, pk.FixedHeader.Retain)
		}
		got[pk.TopicName] = true
	}
	quiet(t, reader)
}
