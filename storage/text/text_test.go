package text

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		query, text string
		want        bool
	}{
		{"hello", "Hello, World", true},
		{"HELLO wor", "Hello, World", true},
		{"hello wor ", "Hello, World", false}, // a space ends the word
		{"ello", "Hello, World", false},
		{`"ello, wor"`, "Hello, World", true},
		{`"hello world"`, "Hello, World", false},
		{"world hello ", "Hello, World", true},
		{"don't", "I don't know", true},
		{"straße ", "STRASSE", true},
		{"ＡＢＣ ", "abc", true},   // full width
		{"é ", "E\u0301", true}, // composed and not
		{"안녕", "여러분 안녕하세요", true},
		{"하세", "안녕하세요", true},
		{"요안", "안녕하세요", false},
		{"녕", "안녕하세요", true},
		{"\u1112\u1161\u11ab국", "한국어", true}, // as macOS writes it
		{"안녕 세요", "안녕하세요", true},
		{"日本", "東日本大震災", true},
		{"東京", "京東", false},
		{"カタカナ", "ｶﾀｶﾅ で", true},
		{"らーめん", "美味しいらーめん", true},
		{"中文", "我会说中文。", true},
		{"สวัสดี", "คุณสวัสดีครับ", true},
		{"🎉", "party 🎉🎉", true},
		{"k리그 2024 ", "K리그1 2024 개막", true},
		{"리그2", "K리그2", true},
		{"привет", "ПРИВЕТ мир", true},
		{"हिन्दी ", "मैं हिन्दी बोलता हूँ", true},
		{"\x00", "a", false},
	} {
		q, err := ParseQuery(c.query)
		if err != nil {
			if c.want || !errors.Is(err, ErrEmpty) {
				t.Errorf("%q: %v", c.query, err)
			}
			continue
		}
		if got := q.Match(Fold(c.text)); got != c.want {
			t.Errorf("%q in %q: %v", c.query, c.text, got)
		}
	}
}

func TestParseQueryBounds(t *testing.T) {
	for s, want := range map[string]error{
		"": ErrEmpty, `""`: ErrEmpty, " ,.- ": ErrEmpty, `"!?"`: ErrEmpty, strings.Repeat("가", 257): ErrLong,
		strings.Repeat("a ", 17): ErrNeedles, strings.Repeat("a가", 20): ErrNeedles, strings.Repeat(`"a"`, 17): ErrNeedles, strings.Repeat("가", 256): nil,
		`"`: ErrEmpty, `"a`: nil,
	} {
		if _, err := ParseQuery(s); !errors.Is(err, want) {
			t.Errorf("%.40q: %v", s, err)
		}
	}
}

func TestFoldIsBounded(t *testing.T) {
	for _, s := range []string{strings.Repeat("a", 5000), strings.Repeat("가", 5000), strings.Repeat("\ufdfa", 5000), strings.Repeat("é", 1999) + "ab"} {
		if n := len([]rune(Fold(s))); n > MaxText {
			t.Errorf("%.10q: %d characters", s, n)
		}
	}
}

// meets reports whether what an index keeps of a text lets the query find it.
func meets(q *Query, folded string) bool {
	var terms []string
	Terms(folded, func(term string) { terms = append(terms, term) })
	for i := range q.Patterns() {
		if !slices.ContainsFunc(terms, func(s string) bool { return q.Patterns()[i].Meets([]byte(s)) }) {
			return false
		}
	}
	return true
}

// What matches is never hidden by the index: it is a filter and nothing else.
func TestPatternsAreAFilter(t *testing.T) {
	letters := rapid.SampledFrom([]string{"a", "b", "A", "가", "나", "日", "ー", "ก", "\u0e34", " ", "-", `"`, "\u0301", "1", "🎉", "ß", strings.Repeat("x", 40)})
	rapid.Check(t, func(t *rapid.T) {
		s := Fold(strings.Join(rapid.SliceOfN(letters, 0, 12).Draw(t, "text"), ""))
		query := strings.Join(rapid.SliceOfN(letters, 1, 4).Draw(t, "query"), "")
		if from := rapid.IntRange(0, 12).Draw(t, "part of the text"); from < len(s) && utf8.RuneStart(s[from]) && rapid.Bool().Draw(t, "as a phrase") {
			query = `"` + s[from:] + `"`
		}
		q, err := ParseQuery(query)
		if err != nil {
			return
		}
		if q.Match(s) && !meets(q, s) {
			t.Fatalf("%q matches %q, which does not meet %+v", query, s, q.Patterns())
		}
	})
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"hello wor", `"to be`, "안녕 abc", "“a” b", "\xff\x00", "ﷺ"} {
		f.Add(s, "hello world 안녕")
	}
	f.Fuzz(func(t *testing.T, query, s string) {
		q, err := ParseQuery(query)
		if err != nil {
			return
		}
		if len(q.needles) == 0 || len(q.needles) > MaxNeedles {
			t.Fatalf("%d parts", len(q.needles))
		}
		if s = Fold(strings.ToValidUTF8(s, "")); q.Match(s) && !meets(q, s) {
			t.Fatalf("%q matches %q, which does not meet %+v", query, s, q.Patterns())
		}
	})
}

func BenchmarkTerms(b *testing.B) {
	for name, s := range map[string]string{
		"Korean": strings.Repeat("오늘 저녁에 다 같이 밥 먹으러 갈래요? ", 2), "English": strings.Repeat("shall we all go out for dinner ", 2),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				Terms(Fold(s), func(string) {})
			}
		})
	}
}
