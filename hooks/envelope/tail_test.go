package envelope

import (
	"bytes"
	"testing"
)

func TestReplaceData(t *testing.T) {
	for _, tt := range []struct{ typ, sent, data, want string }{
		{"text", `{"data":{"text":"bad"},"cid":"c1","meta":{"data":{"text":"x"}},"reply_to":3}`, `{"text":"good"}`, `,"cid":"c1","reply_to":3,"meta":{"data":{"text":"x"}},"data":{"text":"good"}`},
		{"text", `bad`, `"good"`, `,"data":{"text":"good"}`},
		{"text", `{"text":"bad \"data\":"}`, `{"text":"good","mark":1}`, `,"data":{"text":"good","mark":1}`},
		{"text", "\xff\xfe", `{"text":"?"}`, `,"data":{"text":"?"}`},
		{"image", `{"data":[1],"ttl":5}`, `null`, `,"ttl":5,"data":null`},
		{"edit", `{"data":{"text":"bad"},"target":42}`, `{"text":"good"}`, `,"target":42,"data":{"text":"good"}`},
		{"text", `bad`, `{"text":`, ""},
		{"text", `bad`, ``, ""},
		{"text", `bad`, "\"\xff\"", ""},
		{"text", `bad`, `1}, {"cid":2`, ""},
	} {
		m, bad := Parse(tt.typ, []byte(tt.sent), Options{})
		if bad != nil {
			t.Fatal(bad)
		}
		tail := m.AppendTail(nil)
		if data, base64 := DataOf(tail); !bytes.Equal(data, m.Data) || base64 != m.Base64 {
			t.Errorf("%s: data %s, base64 %v", tail, data, base64)
		}
		got, bad := ReplaceData(tt.typ, tail, []byte(tt.data))
		if string(got) != tt.want || (bad == nil) != (tt.want != "") {
			t.Errorf("%s with %s is %s (%v), want %s", tt.sent, tt.data, got, bad, tt.want)
		}
	}
	if data, _ := DataOf(nil); data != nil {
		t.Errorf("the data of nothing is %s", data)
	}
}

// What a tail says beside its data stays, whatever is put in its place.
func FuzzReplaceData(f *testing.F) {
	f.Add("text", []byte(`{"data":{"text":"x"},"cid":"c"}`), []byte(`{"text":"y"}`))
	f.Add("note", []byte(`[1,{"data":2}]`), []byte(`"\u0000"`))
	f.Fuzz(func(t *testing.T, typ string, payload, data []byte) {
		m, bad := Parse(typ, payload, Options{})
		if bad != nil {
			return
		}
		tail := m.AppendTail(nil)
		if got, base64 := DataOf(tail); len(m.Data) > 0 && (!bytes.Equal(got, m.Data) || base64 != m.Base64) {
			t.Fatalf("data of %s is %s", tail, got)
		}
		out, bad := ReplaceData(m.Type, tail, data)
		if bad != nil {
			return
		}
		n, bad := Parse(m.Type, append(append([]byte(`{"target":1,"data":`), data...), '}'), Options{})
		if bad != nil {
			t.Fatalf("%s was taken: %v", data, bad)
		}
		m.Data, m.Base64 = n.Data, false
		if want := m.AppendTail(nil); !bytes.Equal(out, want) {
			t.Fatalf("%s, want %s", out, want)
		}
	})
}
