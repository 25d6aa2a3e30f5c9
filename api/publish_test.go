package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks/problem"
)

func TestPublish(t *testing.T) {
	r := newRig(t).rooms()
	const asJSON, asForm = "Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded"
	for _, c := range []struct {
		by, header, body, want string
	}{
		{"bob", asJSON, `{"topic":"chat/rooms/pub/send","payload":"hi","qos":1,"retain":false,"clientid":"pos-1"}`, `{"id":"pub:1","seq":1,"ts":TS}`},
		{"bob", asJSON, `{"topic":"chat/rooms/pub/send/note","payload":"aGk=","payload_encoding":"base64"}`, `{"id":"pub:2","seq":2,"ts":TS}`},
		{"bob", asJSON, `{"topic":"chat/rooms/pub/send","payload":"x","properties":{"user_properties":{"cid":"c1"}}}`, `{"id":"pub:3","seq":3,"ts":TS}`},
		{"bob", asJSON, `{"topic":"chat/rooms/pub/send","payload":"x","properties":{"user_properties":{"cid":"c1"}}}`, `{"id":"pub:3","seq":3,"ts":TS}`},
		{"bob", asForm, `topic=chat%2Frooms%2Fpub%2Fsend&payload=a+form&cid=f1`, `{"id":"pub:4","seq":4,"ts":TS}`},
		{"bob", asForm, `topic=chat%2Frooms%2Fpub%2Fsend&payload=a+form&cid=f1`, `{"id":"pub:4","seq":4,"ts":TS}`},
		{"alice", asJSON, `{"topic":"chat/rooms/pub/state/k","payload":"1"}`, `{"id":"pub:4","seq":4,"ts":TS}`},
		{"alice", asJSON, `{"topic":"chat/rooms/pub/read","payload":"{\"seq\":2}"}`, `{"id":"pub:2","seq":2}`},
		{"bob", asJSON, `{"topic":"chat/rooms/priv/send","payload":"x","qos":2}`, `{"id":"priv:2","seq":2,"ts":TS}`},
		{"carol", asJSON, `{"topic":"chat/rooms/priv/send","payload":"x"}`, "not_member"},
		{"carol", asJSON, `{"topic":"chat/rooms/none/send","payload":"x"}`, "not_found"},
		{"carol", asJSON, `{"topic":"chat/me/rpc/whoami","payload":"{}"}`, "unsupported"},
		{"carol", asJSON, `{"topic":"chat/rooms/pub/live/typing/carol","payload":"{}"}`, "unsupported"},
		{"carol", asJSON, `{"topic":"other/rooms/pub/send","payload":"x"}`, "forbidden"},
		{"carol", asJSON, `{"topic":"chat/rooms/pub/send","payload":"?","payload_encoding":"base64"}`, "bad_payload"},
		{"carol", asJSON, `{"topic":"chat/rooms/pub/send","payload":"?","payload_encoding":"hex"}`, "bad_payload"},
		{"carol", asJSON, `{"topic":"chat/rooms/pub/send","what":1}`, "bad_payload"},
		{"bob", asJSON, `{"topic":"chat/rooms/priv/send","payload":"x","properties":{"payload_format_indicator":1,"message_expiry_interval":60,` +
			`"response_topic":"a/b","correlation_data":"7","content_type":"text/plain","user_properties":{"a":"b"}}}`, `{"id":"priv:3","seq":3,"ts":TS}`},
		{"bob", asForm, `topic=chat%2Frooms%2Fpriv%2Fsend&payload=eA==&payload_encoding=base64&clientid=pos&qos=2&retain=false`, `{"id":"priv:4","seq":4,"ts":TS}`},
		{"carol", asJSON, `{"topic":"chat/rooms/pub/send","properties":{"payload_format_indicator":2}}`, "bad_payload"},
		{"carol", asJSON, `{"topic":"chat/rooms/pub/send","properties":{"what":2}}`, "bad_payload"},
		{"carol", asJSON, `{"topic":"chat/rooms/pub/send","qos":3}`, "bad_payload"},
		{"carol", asJSON, `{"topic":"chat/rooms/pub/send","qos":-1}`, "bad_payload"},
		{"carol", asForm, `topic=chat%2Frooms%2Fpub%2Fsend&qos=3`, "bad_payload"},
		{"carol", asForm, `topic=chat%2Frooms%2Fpub%2Fsend&qos=two`, "bad_payload"},
		{"carol", asForm, `topic=chat%2Frooms%2Fpub%2Fsend&retain=no`, "bad_payload"},
		{"carol", asForm, `topic=a&topic=b`, "bad_payload"},
		{"carol", asForm, `topic=a&what=b`, "bad_payload"},
		{"carol", asForm, `%zz`, "bad_payload"},
		{"", asJSON, `{"topic":"chat/rooms/pub/send","payload":"x"}`, "guest_read_only"},
	} {
		w := r.do(c.by, "POST /publish", c.body, c.header)
		got := stamps(answerOf(w))
		if w.Code >= 300 {
			var p struct{ Code string }
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			got = p.Code
		}
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.by, c.body, got, c.want)
		}
	}
	if s := r.do("dave", "GET /rooms/pub/messages?limit=10", "").Body.String(); !strings.Contains(s, `"device":"pos-1"`) || !strings.Contains(s, `{"text":"a form"}`) {
		t.Error(s)
	}
}

// The fields of a form are in the OpenAPI document, and so are all the properties that are taken.
func TestPublishIsDescribed(t *testing.T) {
	d, _ := documentOf(t, newRig(t))
	names := func(schema map[string]any) []string {
		props, _ := schema["properties"].(map[string]any)
		return slices.Sorted(maps.Keys(props))
	}
	content := d.Paths["/publish"]["post"].RequestBody.Content
	if diff := cmp.Diff([]string{"cid", "clientid", "payload", "payload_encoding", "qos", "retain", "topic"},
		names(content["application/x-www-form-urlencoded"].Schema)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"content_type", "correlation_data", "message_expiry_interval", "payload_format_indicator", "response_topic", "user_properties",
	}, names(d.Components.Schemas["PublishProperties"])); diff != "" {
		t.Error(diff)
	}
}

// A token in an address would stand in logs: it is refused, with a word on what is in the way, also where a guest may read.
func TestNoTokenInTheAddress(t *testing.T) {
	r := newRig(t).rooms()
	for _, line := range []string{"GET /rooms/pub/events?wait=0&access_token=alice", "GET /rooms/pub/messages?access_token=alice"} {
		r.refused(r.do("", line, ""), 400, problem.BadPayload, "access_token")
	}
}

// A bulk publish keeps its order, and one that is refused holds up nobody.
func TestPublishBulk(t *testing.T) {
	r := newRig(t).rooms()
	var all []string
	for i := range 50 {
		room := "pub"
		if i%10 == 3 {
			room = "none"
		}
		all = append(all, fmt.Sprintf(`{"topic":"chat/rooms/%s/send","payload":"%d"}`, room, i))
	}
	w := r.do("bob", "POST /publish/bulk", "["+strings.Join(all, ",")+"]", "Content-Type: application/json")
	var got []struct {
		ID         string
		Seq        uint64
		ReasonCode int `json:"reason_code"`
		Code       string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || len(got) != 50 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	seq := uint64(0)
	for i, a := range got {
		if i%10 == 3 {
			if a.Code != "not_found" || a.ReasonCode != 0x90 || a.Seq != 0 {
				t.Errorf("%d: %+v", i, a)
			}
			continue
		}
		if seq++; a.Seq != seq || a.ReasonCode != 0 || a.ID != fmt.Sprint("pub:", seq) {
			t.Errorf("%d: %+v, want seq %d", i, a, seq)
		}
	}
	r.refused(r.do("bob", "POST /publish/bulk", "["+strings.Repeat(`{"topic":"x"},`, maxBulk)+`{"topic":"x"}]`, "Content-Type: application/json"), 400, "bad_payload", "")
	r.refused(r.do("bob", "POST /publish/bulk", `{"topic":"x"}`, "Content-Type: application/json"), 400, "bad_payload", "")
}
