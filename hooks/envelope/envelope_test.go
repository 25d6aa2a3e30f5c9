package envelope

import (
	"encoding/hex"
	"testing"
)

func full() Message {
	return Message{
		Type: "text", CID: "c-\"1\"", Target: 1, ReplyTo: 2, Thread: 3, Mentions: []string{"alice", "bob"}, TTL: 60,
		CollapseKey: "k", IfVer: new(uint64(0)), Meta: []byte(`{"a":1}`), Data: []byte(`{"text":"안녕"}`),
	}
}

func TestAppendTail(t *testing.T) {
	all := full()
	raw := Message{Type: "audio", Base64: true, Data: []byte(`"/wAB"`)}
	least := Message{Type: "note", Data: []byte(`1`)}
	for want, m := range map[string]Message{
		`,"cid":"c-\"1\"","target":1,"reply_to":2,"thread":3,"mentions":["alice","bob"],"ttl":60,"collapse_key":"k",` +
			`"if_ver":0,"meta":{"a":1},"data":{"text":"안녕"}`: all,
		`,"encoding":"base64","data":"/wAB"`: raw,
		`,"data":1`:                          least,
		`,"data":null`:                       {},
	} {
		if got := string(m.AppendTail(nil)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestHash(t *testing.T) {
	base := full()
	for name, change := range map[string]func(*Message){
		"type":         func(m *Message) { m.Type = "note" },
		"data":         func(m *Message) { m.Data = []byte(`{"text":"안녕!"}`) },
		"base64":       func(m *Message) { m.Base64 = true },
		"target":       func(m *Message) { m.Target = 9 },
		"reply_to":     func(m *Message) { m.ReplyTo = 9 },
		"thread":       func(m *Message) { m.Thread = 9 },
		"mentions":     func(m *Message) { m.Mentions = []string{"alicebob"} },
		"no mentions":  func(m *Message) { m.Mentions = nil },
		"collapse_key": func(m *Message) { m.CollapseKey = "" },
		"if_ver":       func(m *Message) { m.IfVer = nil },
		"if_ver 1":     func(m *Message) { m.IfVer = new(uint64(1)) },
		"meta":         func(m *Message) { m.Meta = nil },
	} {
		m := full()
		if change(&m); m.Hash() == base.Hash() {
			t.Errorf("%s does not change the hash", name)
		}
	}
	for name, change := range map[string]func(*Message){
		"cid": func(m *Message) { m.CID = "other" },
		"ttl": func(m *Message) { m.TTL = 1 },
	} {
		m := full()
		if change(&m); m.Hash() != base.Hash() {
			t.Errorf("%s changes the hash", name)
		}
	}
}

// Hashes are stored: a change here makes repeated sends of old messages conflicts.
func TestHashIsForever(t *testing.T) {
	m := full()
	h := m.Hash()
	if got, want := hex.EncodeToString(h[:]), "44d4ec1dc8df79433bfb7c05719318e5"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}

func TestSameMessageSameHash(t *testing.T) {
	a, p := Parse("text", []byte("hello"), Options{CID: "c"})
	if p != nil {
		t.Fatal(p)
	}
	b, p := ParseHTTP("application/json", "", "", "", []byte(`{"cid":"c","type":"text","data":{"text":"hello"}}`))
	if p != nil {
		t.Fatal(p)
	}
	if a.Hash() != b.Hash() {
		t.Fatal("one message over MQTT and HTTP has two hashes")
	}
}

func BenchmarkAppendTail(b *testing.B) {
	m := full()
	dst := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = m.AppendTail(dst[:0])
	}
}

func BenchmarkHash(b *testing.B) {
	m := full()
	b.ReportAllocs()
	for b.Loop() {
		_ = m.Hash()
	}
}
