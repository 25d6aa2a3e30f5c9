package hooks_test

import (
	"testing"

	"github.com/madang-chat/madang/hooks"
)

func benchmarkDecide(b *testing.B, token, topic, payload string) {
	rules, _ := newRules(b)
	p := hooks.Publish{
		From: as(token), Device: "web-1", Topic: topic, Payload: []byte(payload), PacketID: 1, Epoch: 1,
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, bad := rules.Decide(&p); bad != nil {
			b.Fatal(bad)
		}
	}
}

const line = "hello there, this is a line of chat as people write it to each other"

// The first one is the publish that nearly all are: QoS 1, text, by a user.
func BenchmarkDecideText(b *testing.B) { benchmarkDecide(b, "bob", "chat/rooms/pub/send", line) }

func BenchmarkDecideEnvelope(b *testing.B) {
	benchmarkDecide(b, "bob", "chat/rooms/pub/send", `{"cid":"c-7f3","data":{"text":"`+line+`"}}`)
}

func BenchmarkDecideGuest(b *testing.B) { benchmarkDecide(b, "guest~1", "chat/rooms/open/send", line) }

func BenchmarkDecideLive(b *testing.B) {
	benchmarkDecide(b, "bob", "chat/rooms/pub/live/typing/bob", `{"on":true}`)
}
