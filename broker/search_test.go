package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// Each node has an index of its own, and all of them find the same, with the index or before it is there, and after a
// restart.
func TestSeveralNodesFindTheSame(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	as := mqtttest.Flavours[0]
	const many = 600
	ann := caller(t, c.Nodes[0], as, "ann")
	call(t, ann, "room.create", `{"room":"r","kind":"private"}`)
	for i := range many {
		ann.Say("r", fmt.Sprintf("number %d 저녁%d", i, i%50))
	}
	for _, m := range []struct{ topic, payload string }{
		{"send/edit", `{"target":7,"data":{"text":"changed 점심"}}`}, {"send/delete", `{"target":8,"data":{}}`}, {"send", "東京で夕食"}, {"send", "今晚一起吃饭"},
	} {
		ann.Publish(mqtttest.Message("chat/rooms/r/"+m.topic, m.payload, 1))
	}
	searches := []string{
		`{"q":"number"}`, `{"q":"저녁7"}`, `{"q":"점심","room":"r"}`, `{"q":"number 6 "}`, `{"q":"number 7 "}`, `{"q":"夕食"}`, `{"q":"吃饭"}`,
		`{"q":"저녁4 number","from":"ann","limit":100}`, `{"from":"ann","limit":3}`, `{"q":"\"mber 59\""}`,
	}
	find := func(n *testcluster.Node, as mqtttest.Flavour) (all string) {
		caller := caller(t, n, as, "ann")
		for _, s := range searches {
			all += string(call(t, caller, "search", s)) + "\n"
		}
		return all
	}
	head := uint64(many + 4)
	c.SameDigest(storage.RoomKey{NS: "chat", Room: "r"}, head)
	want := find(c.Nodes[0], as)
	for _, s := range []string{`"seq":600`, `"changed 점심"`, "東京で夕食", "今晚一起吃饭"} {
		if !strings.Contains(want, s) {
			t.Errorf("%s is not found", s)
		}
	}
	for _, s := range []string{`"text":"number 6 `, `"text":"number 7 `} { // edited, and deleted
		if strings.Contains(want, s) {
			t.Errorf("%s is found", s)
		}
	}
	for round := range 2 {
		for i, n := range c.Nodes {
			if got := find(n, mqtttest.Flavours[(i+1)%len(mqtttest.Flavours)]); got != want {
				t.Errorf("node %d, round %d finds\n%.2000s\nthe first found\n%.2000s", i, round, got, want)
			}
		}
		if round == 0 {
			c.Nodes[2].Restart()
		}
	}
	eve := caller(t, c.Nodes[1], as, "eve")
	if got := string(call(t, eve, "search", `{"q":"number"}`)); got != `{"messages":[],"more":false}` {
		t.Errorf("one who is no member finds %s", got)
	}
	if r := tryCall(t, eve, "search", `{"q":"number","room":"r"}`); r.Error.Code != "not_member" {
		t.Errorf("by name: %+v", r)
	}
}
