// Package text is how messages are compared with what somebody searches for: which form of a text counts, which terms an
// index keeps of it, what a query asks for. It is a pure function of its arguments, so that every node finds the same.
//
// Scripts that put no space between words (Chinese, Japanese, Thai; and Korean, whose words carry particles) are searched by
// substring: a term is one character, or two that follow each other. All others are searched by word.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Bounds of what counts of a message.
const (
	MaxText = 2000 // characters; what follows them is not searched
	maxTerm = 64   // bytes of a word that an index keeps
)

// Version rises when Fold or Terms give something else than before: an index made under another one is made anew.
const Version = 1

// Fold returns the form of s that is compared: its first MaxText characters, compatible forms made equal (NFKC), without
// difference of case.
func Fold(s string) string {
	if s = cut(s); plain(s) {
		return strings.ToLower(s)
	}
	s = norm.NFKC.String(s)
	return cut(norm.NFKC.String(cases.Fold().String(s)))
}

// plain reports whether s has only characters that no form but the lower case changes: nearly all texts have.
func plain(s string) bool {
	for _, r := range s {
		if r >= utf8.RuneSelf && !common(r) && (r < 0x3001 || r > 0x3003) {
			return false
		}
	}
	return true
}

// common reports whether r is among most of what is written in Korean, Chinese and Japanese.
func common(r rune) bool {
	return r >= 0xac00 && r <= 0xd7a3 || r >= 0x4e00 && r <= 0x9fff || r >= 0x3041 && r <= 0x3096 || r >= 0x30a1 && r <= 0x30fa || r == 0x30fc
}

// cut returns the first MaxText characters of s.
func cut(s string) string {
	if len(s) <= MaxText {
		return s
	}
	n := 0
	for i := range s {
		if n++; n > MaxText {
			return s[:i]
		}
	}
	return s
}

// class says how a character is searched.
type class byte

const (
	none class = iota // it separates
	word
	gram
)

// scripts are those searched by substring.
var scripts = []*unicode.RangeTable{
	unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana, unicode.Bopomofo, unicode.Thai, unicode.Lao, unicode.Khmer,
	unicode.Myanmar, unicode.Tibetan, unicode.Yi,
}

// classOf returns the class of r after a character of class before. Marks belong to what they stand on.
func classOf(r rune, before class) class {
	switch {
	case r < utf8.RuneSelf:
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' {
			return word
		}
		return none
	case common(r):
		return gram
	case unicode.In(r, scripts...), r >= 0x2190 && unicode.Is(unicode.So, r): // emoji too
		if unicode.IsPunct(r) {
			return none
		}
		return gram
	case unicode.IsMark(r):
		if before == none {
			return word
		}
		return before
	case unicode.IsLetter(r), unicode.IsNumber(r):
		return word
	}
	return none
}

// runs calls f for the words of a folded text and its runs of characters searched by substring, in order, until f says stop.
func runs(s string, f func(c class, run string) (more bool)) {
	was, from := none, 0
	for i, r := range s {
		c := classOf(r, was)
		if c == was {
			continue
		}
		if was != none && !f(was, s[from:i]) {
			return
		}
		was, from = c, i
	}
	if was != none {
		f(was, s[from:])
	}
}

// Long is the term of texts that have a word of which an index keeps the beginning only. No other term begins so.
const Long = "\x02"

// Terms calls f for the terms of a folded text, the same one as often as it is there. A text has at most two for each of its
// characters.
func Terms(s string, f func(term string)) {
	runs(s, func(c class, run string) bool {
		if c == gram {
			grams(run, f, f)
			return true
		}
		if len(run) > maxTerm {
			f(Long)
		}
		f(short(run))
		return true
	})
}

// grams calls one for each character of a run and two for each pair of neighbours.
func grams(run string, one, two func(string)) {
	before := 0
	for i, r := range run {
		n := i + utf8.RuneLen(r)
		if r == utf8.RuneError { // of which the length says nothing
			_, size := utf8.DecodeRuneInString(run[i:])
			n = i + size
		}
		one(run[i:n])
		if i > 0 {
			two(run[before:n])
		}
		before = i
	}
}

// short is the beginning of a word that an index keeps.
func short(s string) string {
	if len(s) <= maxTerm {
		return s
	}
	n := maxTerm
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
