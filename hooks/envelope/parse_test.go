package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/hooks/problem"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		contract string // the sentence it follows from
		typ, in  string
		opt      Options
		want     Message
	}{
		{
			contract: "UTF-8 that is no JSON object arrives as {\"text\":\"<as sent>\"}",
			typ:      "text", in: "안녕 <b>\"x\"</b>\n", want: Message{Data: []byte(`{"text":"안녕 <b>\"x\"</b>\n"}`)},
		},
		{contract: "type defaults to text", in: "hi", want: Message{Type: "text", Data: []byte(`{"text":"hi"}`)}},
		{contract: "any bytes", typ: "text", in: "", want: Message{Data: []byte(`{"text":""}`)}},
		{contract: "any bytes", typ: "text", in: " ", want: Message{Data: []byte(`{"text":" "}`)}},
		{contract: "any bytes", typ: "note", in: "", want: Message{Data: []byte(`""`)}},
		{contract: "no JSON object", typ: "text", in: "42", want: Message{Data: []byte(`{"text":"42"}`)}},
		{contract: "no JSON object", typ: "text", in: "[1, 2]", want: Message{Data: []byte(`{"text":"[1, 2]"}`)}},
		{contract: "no JSON object", typ: "text", in: `"quoted"`, want: Message{Data: []byte(`{"text":"\"quoted\""}`)}},
		{contract: "no JSON object", typ: "text", in: "null", want: Message{Data: []byte(`{"text":"null"}`)}},
		{contract: "no JSON object", typ: "text", in: "{oops", want: Message{Data: []byte(`{"text":"{oops"}`)}},
		{contract: "no JSON object", typ: "text", in: `{"a":1} x`, want: Message{Data: []byte(`{"text":"{\"a\":1} x"}`)}},
		{contract: "no JSON object", typ: "text", in: "a\x00b\u2028", want: Message{Data: []byte(`{"text":"a\u0000b\u2028"}`)}},
		{contract: "in other types it arrives as a string", typ: "note", in: "안녕", want: Message{Data: []byte(`"안녕"`)}},
		{contract: "in other types it arrives as a string", typ: "note", in: "42", want: Message{Data: []byte(`"42"`)}},
		{contract: "in other types it arrives as a string", typ: "note", in: `"x"`, want: Message{Data: []byte(`"\"x\""`)}},
		{contract: "in other types it arrives as a string", typ: "note", in: "[1,", want: Message{Data: []byte(`"[1,"`)}},
		{
			contract: "any other JSON object or array is data, byte for byte",
			typ:      "text", in: `{ "b":1.0,"a" : "\u00e9","b":2 }`, want: Message{Data: []byte(`{ "b":1.0,"a" : "\u00e9","b":2 }`)},
		},
		{contract: "byte for byte", typ: "note", in: `[1,  {"x":1e2}]`, want: Message{Data: []byte(`[1,  {"x":1e2}]`)}},
		{contract: "white space around is not the object", typ: "text", in: "\n {\"a\":1}\r\n", want: Message{Data: []byte(`{"a":1}`)}},
		{contract: "data and another key without cid: data", typ: "text", in: `{"data":1,"x":2}`, want: Message{Data: []byte(`{"data":1,"x":2}`)}},
		{contract: "cid without data: data", typ: "text", in: `{"cid":"a","x":2}`, want: Message{Data: []byte(`{"cid":"a","x":2}`)}},
		{contract: "type is no key of an MQTT envelope", typ: "note", in: `{"data":1,"type":"a"}`, want: Message{Data: []byte(`{"data":1,"type":"a"}`)}},
		{
			contract: "bytes that are not UTF-8: base64 with encoding",
			typ:      "audio", in: "\xff\x00\x01", want: Message{Base64: true, Data: []byte(`"/wAB"`)},
		},
		{
			contract: "in type text data is always an object",
			typ:      "text", in: "\xff\x00\x01", want: Message{Base64: true, Data: []byte(`{"text":"/wAB"}`)},
		},
		{
			contract: "invalid UTF-8 inside JSON is not UTF-8",
			typ:      "note", in: "{\"a\":\"\xff\"}", want: Message{Base64: true, Data: []byte(`"eyJhIjoi/yJ9"`)},
		},
		{
			contract: "a JSON string that holds a JSON object is unwrapped once",
			typ:      "text", in: `"{\"text\":\"x\"}"`, want: Message{Data: []byte(`{"text":"x"}`)},
		},
		{contract: "unwrapped once", typ: "note", in: ` "\u007b\"a\":1}" `, want: Message{Data: []byte(`{"a":1}`)}},
		{
			contract: "unwrapped once",
			typ:      "note", in: `"\"{\\\"a\\\":1}\""`, want: Message{Data: []byte(`"\"\\\"{\\\\\\\"a\\\\\\\":1}\\\"\""`)},
		},
		{contract: "only an object is unwrapped", typ: "note", in: `"[1]"`, want: Message{Data: []byte(`"\"[1]\""`)}},
		{
			contract: "an unwrapped object may be an envelope",
			typ:      "text", in: `"{\"data\":{\"text\":\"x\"},\"cid\":\"c\"}"`, want: Message{CID: "c", Data: []byte(`{"text":"x"}`)},
		},
		{
			contract: "an object with data whose other keys are all among ... is an envelope",
			typ:      "text",
			in: `{"cid":"c-1","target":1,"reply_to":2,"thread":3,"mentions":["alice","bob","alice"],"ttl":60,"collapse_key":"k",` +
				`"if_ver":0,"meta":{ "a":1},"data":{"text" : "hi"}}`,
			want: Message{
				CID: "c-1", Target: 1, ReplyTo: 2, Thread: 3, Mentions: []string{"alice", "bob"}, TTL: 60, CollapseKey: "k",
				IfVer: new(uint64(0)), Meta: []byte(`{ "a":1}`), Data: []byte(`{"text" : "hi"}`),
			},
		},
		{contract: "keys are compared as they read", typ: "note", in: `{"d\u0061ta":1,"\u0063id":"c"}`, want: Message{CID: "c", Data: []byte("1")}},
		{contract: "data of another type, byte for byte", typ: "note", in: `{"data": 1.50 }`, want: Message{Data: []byte("1.50")}},
		{contract: "data of another type, byte for byte", typ: "note", in: `{"data":null}`, want: Message{Data: []byte("null")}},
		{contract: "in type text data is always an object", typ: "text", in: `{"data":"h\u00e9<"}`, want: Message{Data: []byte(`{"text":"h\u00e9<"}`)}},
		{contract: "in type text data is always an object", typ: "text", in: `{"data":[1,"a"]}`, want: Message{Data: []byte(`{"text":"[1,\"a\"]"}`)}},
		{contract: "in type text data is always an object", typ: "text", in: `{"data":null}`, want: Message{Data: []byte(`{"text":"null"}`)}},
		{contract: "null is not given", typ: "note", in: `{"data":1,"cid":null,"mentions":null,"ttl":null}`, want: Message{Data: []byte("1")}},
		{contract: "v5: user property cid counts", typ: "note", in: "x", opt: Options{CID: "p"}, want: Message{CID: "p", Data: []byte(`"x"`)}},
		{contract: "the same cid twice", typ: "note", in: `{"data":1,"cid":"p"}`, opt: Options{CID: "p"}, want: Message{CID: "p", Data: []byte("1")}},
		{contract: "v5: Message Expiry counts", typ: "note", in: "x", opt: Options{MessageExpiry: 9}, want: Message{TTL: 9, Data: []byte(`"x"`)}},
		{contract: "the shorter life counts", typ: "note", in: `{"data":1,"ttl":5}`, opt: Options{MessageExpiry: 9}, want: Message{TTL: 5, Data: []byte("1")}},
		{contract: "the shorter life counts", typ: "note", in: `{"data":1,"ttl":50}`, opt: Options{MessageExpiry: 9}, want: Message{TTL: 9, Data: []byte("1")}},
		{contract: "send/edit", typ: "edit", in: `{"target":42,"data":{"text":"new"}}`, want: Message{Target: 42, Data: []byte(`{"text":"new"}`)}},
		{contract: "send/delete", typ: "delete", in: `{"target":42,"data":{}}`, want: Message{Target: 42, Data: []byte(`{}`)}},
		{
			contract: "send/reaction",
			typ:      "reaction", in: `{"target":42,"data":{"emoji":"👍","on":true}}`, want: Message{Target: 42, Data: []byte(`{"emoji":"👍","on":true}`)},
		},
		{contract: "largest seq", typ: "note", in: `{"data":1,"reply_to":9007199254740991}`, want: Message{ReplyTo: 1<<53 - 1, Data: []byte("1")}},
		{contract: "64 characters, not bytes", typ: "note", in: `{"data":1,"cid":"` + strings.Repeat("가", 64) + `"}`, want: Message{CID: strings.Repeat("가", 64), Data: []byte("1")}},
		{contract: "deep brackets that are no JSON are text", typ: "text", in: strings.Repeat(`{"a":`, 70), want: Message{Data: []byte(`{"text":"` + strings.Repeat(`{\"a\":`, 70) + `"}`)}},
	} {
		if c.want.Type == "" {
			c.want.Type = c.typ
		}
		got, p := Parse(c.typ, []byte(c.in), c.opt)
		if p != nil {
			t.Errorf("%s: %.80q in type %q: %v", c.contract, c.in, c.typ, p)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %.80q in type %q (-want +got):\n%s", c.contract, c.in, c.typ, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	users := make([]string, 51)
	for i := range users {
		users[i] = fmt.Sprintf(`"u%d"`, i)
	}
	nested := strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65)
	for _, c := range []struct {
		typ, in string
		opt     Options
		code    problem.Code
		says    string
	}{
		{"text", `{"data":{},"cid":"c","foo":1}`, Options{}, problem.BadPayload, `"foo"`},
		{"text", `{"foo":1,"cid":"c","data":{},"bar":2}`, Options{}, problem.BadPayload, `"foo"`},
		{"text", `{"data":{},"cid":"c","type":"x"}`, Options{}, problem.BadPayload, `"type"`},
		{"text", `{"data":{},"cid":"c","` + strings.Repeat("é", 200) + `":1}`, Options{}, problem.BadPayload, "éé.."},
		{"text", `{"data":{},"data":{}}`, Options{}, problem.BadPayload, `"data" twice`},
		{"text", `{"data":{},"ttl":5,"tt\u006c":5}`, Options{}, problem.BadPayload, `"ttl" twice`},
		{"text", `{"data":{},"cid":""}`, Options{}, problem.BadPayload, "cid"},
		{"text", `{"data":{},"cid":7}`, Options{}, problem.BadPayload, "cid"},
		{"text", `{"data":{},"cid":"a\u0000"}`, Options{}, problem.BadPayload, "control"},
		{"text", `{"data":{},"cid":"a\u0085"}`, Options{}, problem.BadPayload, "control"},
		{"text", `{"data":{},"cid":"` + strings.Repeat("a", 65) + `"}`, Options{}, problem.BadPayload, "1-64"},
		{"text", `x`, Options{CID: strings.Repeat("가", 65)}, problem.BadPayload, "1-64"},
		{"text", `x`, Options{CID: "a\xff"}, problem.BadPayload, "cid"},
		{"text", `{"data":{},"cid":"a"}`, Options{CID: "b"}, problem.BadPayload, "differ"},
		{"text", `{"data":{},"target":0}`, Options{}, problem.BadPayload, "target"},
		{"text", `{"data":{},"target":-1}`, Options{}, problem.BadPayload, "target"},
		{"text", `{"data":{},"target":1.5}`, Options{}, problem.BadPayload, "target"},
		{"text", `{"data":{},"target":"1"}`, Options{}, problem.BadPayload, "target"},
		{"text", `{"data":{},"reply_to":9007199254740992}`, Options{}, problem.BadPayload, "reply_to"},
		{"text", `{"data":{},"thread":1e3}`, Options{}, problem.BadPayload, "thread"},
		{"text", `{"data":{},"ttl":0}`, Options{}, problem.BadPayload, "ttl"},
		{"edit", `{"target":1,"data":{},"ttl":5}`, Options{}, problem.BadPayload, "no ttl"},
		{"delete", `{"target":1,"data":{}}`, Options{MessageExpiry: 5}, problem.BadPayload, "Message Expiry"},
		{"reaction", `{"target":1,"data":{"emoji":"x"},"ttl":5}`, Options{}, problem.BadPayload, "no ttl"},
		{"text", `{"data":{},"ttl":4294967296}`, Options{}, problem.BadPayload, "ttl"},
		{"text", `{"data":{},"if_ver":-1}`, Options{}, problem.BadPayload, "if_ver"},
		{"text", `{"data":{},"if_ver":99999999999999999999}`, Options{}, problem.BadPayload, "if_ver"},
		{"text", `{"data":{},"collapse_key":1}`, Options{}, problem.BadPayload, "collapse_key"},
		{"text", `{"data":{},"collapse_key":"a\nb"}`, Options{}, problem.BadPayload, "collapse_key"},
		{"text", `{"data":{},"meta":[]}`, Options{}, problem.BadPayload, "meta"},
		{"text", `{"data":{},"meta":{"a":"` + strings.Repeat("x", 4096) + `"}}`, Options{}, problem.BadPayload, "meta"},
		{"text", `{"data":{},"mentions":"alice"}`, Options{}, problem.BadPayload, "mentions"},
		{"text", `{"data":{},"mentions":[1]}`, Options{}, problem.BadPayload, "mentions"},
		{"text", `{"data":{},"mentions":[["a"]]}`, Options{}, problem.BadPayload, "mentions"},
		{"text", `{"data":{},"mentions":["a b"]}`, Options{}, problem.BadPayload, "a b"},
		{"text", `{"data":{},"mentions":[` + strings.Join(users, ",") + `]}`, Options{}, problem.BadPayload, "50"},
		{"text", nested, Options{}, problem.BadPayload, "64 levels"},
		{"note", `[` + nested + `]`, Options{}, problem.BadPayload, "64 levels"},
		{"text", `{"cid":"c","data":{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}}`, Options{}, problem.BadPayload, "64 levels"},
		{"note", strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), Options{}, problem.BadPayload, "64 levels"},
		{"text", `"` + strings.Repeat(`{\"a\":`, 20_000) + "1" + strings.Repeat("}", 20_000) + `"`, Options{}, problem.BadPayload, "64 levels"},
		{"note", `[[[1]]]`, Options{MaxDepth: 2}, problem.BadPayload, "2 levels"},
		{"edit", `{"data":{"text":"x"}}`, Options{}, problem.BadPayload, "target"},
		{"delete", `{"target":42}`, Options{}, problem.BadPayload, "target"},
		{"reaction", `👍`, Options{}, problem.BadPayload, "target"},
		{"reaction", `{"target":1,"data":"👍"}`, Options{}, problem.BadPayload, "emoji"},
		{"reaction", `{"target":1,"data":{"on":true}}`, Options{}, problem.BadPayload, "emoji"},
		{"reaction", `{"target":1,"data":{"emoji":""}}`, Options{}, problem.BadPayload, "emoji"},
		{"reaction", `{"target":1,"data":{"emoji":"a","on":1}}`, Options{}, problem.BadPayload, "emoji"},
		{"reaction", `{"target":1,"data":{"emoji":"` + strings.Repeat("a", 65) + `"}}`, Options{}, problem.BadPayload, "64"},
		{"system", `{"data":{}}`, Options{}, problem.Forbidden, "broker"},
		{"a b", `x`, Options{}, problem.NotFound, "a b"},
	} {
		m, p := Parse(c.typ, []byte(c.in), c.opt)
		if p == nil || p.Code != c.code || !strings.Contains(p.Sentence(), c.says) {
			t.Errorf("%.60q in type %s: got %v, want %s saying %s", c.in, c.typ, p, c.code, c.says)
		}
		if diff := cmp.Diff(Message{}, m); diff != "" {
			t.Errorf("%.60q in type %s: refused with a message: %s", c.in, c.typ, diff)
		}
	}
}

func TestMentionsLimit(t *testing.T) {
	users := make([]string, 50)
	for i := range users {
		users[i] = fmt.Sprintf(`"u%d"`, i)
	}
	m, p := Parse("", []byte(`{"data":{},"mentions":[`+strings.Join(users, " , ")+`]}`), Options{})
	if p != nil || len(m.Mentions) != 50 {
		t.Fatalf("%d %v", len(m.Mentions), p)
	}
}

// delivered is the envelope's part of the delivered form.
type delivered struct {
	Encoding string          `json:"encoding"`
	CID      string          `json:"cid"`
	Data     json.RawMessage `json:"data"`
}

// checkTail checks what must hold for every message, whatever it was made of.
func checkTail(t interface{ Fatalf(string, ...any) }, m *Message) {
	tail := append(m.AppendTail([]byte(`{"from":{}`)), '}')
	if !json.Valid(tail) || !utf8.Valid(tail) {
		t.Fatalf("tail is no JSON: %q", tail)
	}
	if !bytes.HasSuffix(tail, append(append([]byte(`,"data":`), m.Data...), '}')) {
		t.Fatalf("data is not last and byte for byte: %q", tail)
	}
	var d delivered
	if err := json.Unmarshal(tail, &d); err != nil {
		t.Fatalf("%q: %v", tail, err)
	}
	if d.CID != m.CID || (d.Encoding == "base64") != m.Base64 {
		t.Fatalf("%q: %+v", tail, d)
	}
	if m.Type == TypeText && m.Data[0] != '{' {
		t.Fatalf("type text without an object: %q", m.Data)
	}
}

// checkBytes checks a message made of payload against what the contract says of raw forms.
func checkBytes(t interface{ Fatalf(string, ...any) }, m *Message, payload []byte) {
	checkTail(t, m)
	if !utf8.Valid(payload) {
		s := string(m.Data)
		if m.Type == TypeText {
			var d struct{ Text string }
			if err := json.Unmarshal(m.Data, &d); err != nil {
				t.Fatalf("%q: %v", m.Data, err)
			}
			s = d.Text
		} else {
			s = strings.Trim(s, `"`)
		}
		back, err := base64.StdEncoding.DecodeString(s)
		if err != nil || !bytes.Equal(back, payload) || !m.Base64 {
			t.Fatalf("%q came back as %q, %v", payload, back, err)
		}
		return
	}
	if m.Base64 {
		t.Fatalf("UTF-8 became base64: %q", payload)
	}
	var top map[string]json.RawMessage
	body := trim(payload)
	isObject := json.Unmarshal(body, &top) == nil && top != nil
	switch {
	case isObject && top["data"] == nil:
		if !bytes.Equal(m.Data, body) {
			t.Fatalf("%q is not %q, byte for byte", m.Data, body)
		}
	case json.Valid(body) && len(body) > 0 && body[0] == '[' && m.Type != TypeText:
		if !bytes.Equal(m.Data, body) {
			t.Fatalf("%q is not %q, byte for byte", m.Data, body)
		}
	case !json.Valid(body):
		var d struct{ Text string }
		var s string
		if m.Type == TypeText {
			if err := json.Unmarshal(m.Data, &d); err != nil {
				t.Fatalf("%q: %v", m.Data, err)
			}
			s = d.Text
		} else if err := json.Unmarshal(m.Data, &s); err != nil {
			t.Fatalf("%q: %v", m.Data, err)
		}
		if s != string(payload) {
			t.Fatalf("%q came back as %q", payload, s)
		}
	}
}

func TestAnyBytes(t *testing.T) {
	payloads := rapid.OneOf(rapid.SliceOf(rapid.Byte()), nearJSON, realJSON,
		rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }))
	rapid.Check(t, func(t *rapid.T) {
		payload := payloads.Draw(t, "payload")
		typ := rapid.SampledFrom([]string{"text", "note"}).Draw(t, "type")
		sent := bytes.Clone(payload)
		m, p := Parse(typ, payload, Options{})
		if !bytes.Equal(sent, payload) {
			t.Fatalf("the payload was changed")
		}
		if p != nil {
			var top map[string]json.RawMessage
			if json.Unmarshal(payload, &top) != nil || top["data"] == nil {
				var s string // or an object in a string
				if json.Unmarshal(payload, &s) != nil || json.Unmarshal([]byte(s), &top) != nil || top["data"] == nil {
					t.Fatalf("%q has no data member and was refused: %v", payload, p)
				}
			}
			return
		}
		checkBytes(t, &m, payload)
	})
}

func TestEnvelopeKeepsData(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := realJSON.Draw(t, "data")
		m, p := Parse("note", fmt.Appendf(nil, `{"cid":"c", "data" : %s }`, data), Options{})
		if p != nil || !bytes.Equal(m.Data, data) {
			t.Fatalf("%q became %q, %v", data, m.Data, p)
		}
		checkTail(t, &m)
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"hello", `{"data":{"text":"x"},"cid":"c"}`, `{"data":1,"mentions":["a"],"meta":{}}`, `"{\"data\":1}"`, "\xff", "[1]", "{", `{"a":"\u0000"}`,
	} {
		f.Add("text", []byte(s), "")
		f.Add("note", []byte(s), "c")
	}
	f.Fuzz(func(t *testing.T, typ string, payload []byte, cid string) {
		m, p := Parse(typ, payload, Options{CID: cid})
		if p != nil {
			if p.Status < 400 || p.Sentence() == "" || !json.Valid(p.AppendJSON(nil)) {
				t.Fatalf("%+v", p)
			}
			return
		}
		checkBytes(t, &m, payload)
		if again := m; again.Hash() != m.Hash() {
			t.Fatal("hash is not stable")
		}
	})
}

var text128 = []byte(strings.Repeat("안녕하세요 everyone! ", 5)[:128-2])

var envelope128 = []byte(`{"cid":"c-7f3a91","reply_to":41,"mentions":["alice"],"data":{"text":"The quick brown fox jumps over it"}}`)

func TestParseAllocations(t *testing.T) {
	for name, in := range map[string][]byte{"text": text128, "envelope": envelope128} {
		n := testing.AllocsPerRun(100, func() {
			if _, p := Parse("text", in, Options{}); p != nil {
				t.Fatal(p)
			}
		})
		if n >= 5 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkParseText(b *testing.B)     { benchmarkParse(b, text128) }
func BenchmarkParseEnvelope(b *testing.B) { benchmarkParse(b, envelope128) }

func benchmarkParse(b *testing.B, in []byte) {
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, p := Parse("text", in, Options{}); p != nil {
			b.Fatal(p)
		}
	}
}
