package envelope

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pieces build bytes that are nearly JSON.
var pieces = rapid.SampledFrom([]string{
	"{", "}", "[", "]", ",", ":", " ", "\n", `"`, `\`, `"a"`, `"data"`, `"cid"`, `"c1"`, `"\u00e9"`, `"\ud800"`, `"\x"`, `"\n"`,
	"0", "-", "1", "12.5", "1e3", "1E+", "-0", "01", ".5", "true", "false", "null", "nul", "안녕", "\xff", "\x00", `{"a":1}`, `[1,2]`,
	`{"data":{"text":"x"}}`, `"target":42`, `"{\"text\":\"x\"}"`,
})

var nearJSON = rapid.Custom(func(t *rapid.T) []byte {
	return []byte(strings.Join(rapid.SliceOfN(pieces, 0, 12).Draw(t, "pieces"), ""))
})

// realJSON draws valid documents.
var realJSON = rapid.Custom(func(t *rapid.T) []byte {
	b, err := json.Marshal(drawValue(t, 4))
	if err != nil {
		t.Fatal(err)
	}
	return b
})

func drawValue(t *rapid.T, depth int) any {
	kind := rapid.IntRange(0, 6).Draw(t, "kind")
	if depth == 0 {
		kind %= 5
	}
	switch kind {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int64().Draw(t, "int")
	case 3:
		return rapid.Float64Range(-1e9, 1e9).Draw(t, "float")
	case 4:
		return rapid.String().Draw(t, "string")
	case 5:
		n := rapid.IntRange(0, 3).Draw(t, "n")
		a := make([]any, n)
		for i := range a {
			a[i] = drawValue(t, depth-1)
		}
		return a
	}
	o := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "n") {
		k := rapid.OneOf(rapid.SampledFrom(keyNames[:]), rapid.String()).Draw(t, "key")
		o[k] = drawValue(t, depth-1)
	}
	return o
}

func TestScanAgreesWithStdlib(t *testing.T) {
	check := func(t *rapid.T, b []byte) {
		b = trim(b)
		got := len(b) > 0 && scanWhole(b, 100) == valid
		if want := json.Valid(b); got != want || isJSON(b) != want {
			t.Fatalf("%q: got %v, %v, want %v", b, got, isJSON(b), want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, nearJSON.Draw(t, "near"))
		check(t, realJSON.Draw(t, "real"))
	})
}

func TestScanDepth(t *testing.T) {
	nest := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	for _, c := range []struct {
		b    []byte
		want verdict
	}{
		{nest(64), valid},
		{nest(65), deep},
		{[]byte(strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65)), deep},
		{[]byte(strings.Repeat("[", 65)), invalid},
		{nest(10_001), deep}, // beyond what the standard library reads
		{nest(200_000), deep},
		{append(nest(20_000), ']'), invalid},
		{[]byte(strings.Repeat("[", 20_000)), invalid},
		{[]byte(strings.Repeat(`{"a":[`, 20_000) + strings.Repeat("}]", 20_000)), invalid},
		{[]byte(strings.Repeat(`{"a" : [1, `, 20_000) + "{ }" + strings.Repeat(" ] }", 20_000)), deep},
		{[]byte(strings.Repeat(`{"a":[`, 20_000) + "01" + strings.Repeat("]}", 20_000)), invalid},
	} {
		if got := scanWhole(c.b, 64); got != c.want {
			t.Errorf("%.20q (%d bytes): %d, want %d", c.b, len(c.b), got, c.want)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,"\u00e9"]}`, `[`, `"\ud8"`, `-`, `01`, `{"a":1,}`, `[1 2]`, `tru`, "\"\x01\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = trim(b)
		if len(b) == 0 {
			return
		}
		v := scanWhole(b, MaxDepth)
		if want := json.Valid(b); (v != invalid) != isJSON(b) || isJSON(b) != want && len(b) <= 20_000 {
			t.Fatalf("%q: verdict %d, stdlib %v", b, v, want)
		}
		if v == valid && b[0] == '"' {
			var want string
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			// Without escapes the bytes are taken as they are; invalid UTF-8 never gets here.
			if got := unquote(b); got != want && strings.ToValidUTF8(got, "\uFFFD") == got {
				t.Fatalf("%q: %q, want %q", b, got, want)
			}
		}
	})
}
