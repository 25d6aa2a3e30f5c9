package text

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a query.
const (
	MaxQuery   = 256 // characters
	MaxNeedles = 16
)

// Errors of ParseQuery, in words for people.
var (
	ErrEmpty   = errors.New("there is nothing in it to look for: give a word, or a character of Korean, Japanese or Chinese")
	ErrLong    = errors.New("it has more than 256 characters")
	ErrNeedles = errors.New("it has more than 16 parts")
)

// Query is what somebody looks for: a text matches that has all its parts.
//
//	hello wor     the word "hello" and a word that begins with "wor"
//	안녕          these characters, wherever they stand
//	"to be or"    this, as it stands, within words too
//
// The last word of a query matches as the beginning of one, for those who are still typing, unless a space follows it.
type Query struct {
	needles  []needle
	patterns []Pattern
}

type needle struct {
	kind kind
	text string // folded
}

type kind byte

const (
	whole  kind = iota // a word
	begins             // the beginning of a word
	inGram             // part of a run of characters
	phrase             // part of the text
)

// Pattern is what an index must hold of a text that matches: a term of its own that is, begins with, ends with or holds Text.
type Pattern struct {
	Text string
	How  How
}

// How says how a pattern and a term compare.
type How byte

// Ways to compare. An EndsWith or Contains is also met by Long: of a long word the index keeps the beginning only.
const (
	Is How = iota
	BeginsWith
	EndsWith
	Contains
)

// Meets reports whether a term satisfies the pattern.
func (p *Pattern) Meets(term []byte) bool {
	switch p.How {
	case Is:
		return string(term) == p.Text
	case BeginsWith:
		return len(term) >= len(p.Text) && string(term[:len(p.Text)]) == p.Text
	case EndsWith:
		return len(term) >= len(p.Text) && string(term[len(term)-len(p.Text):]) == p.Text || string(term) == Long
	case Contains:
		return strings.Contains(string(term), p.Text) || string(term) == Long
	}
	return false
}

// ParseQuery reads a query. Nothing of it is an error but that it is too long, or has nothing to look for.
func ParseQuery(s string) (*Query, error) {
	if utf8.RuneCountInString(s) > MaxQuery {
		return nil, ErrLong
	}
	q := &Query{}
	s = Fold(strings.NewReplacer("“", `"`, "”", `"`, "＂", `"`).Replace(strings.ToValidUTF8(s, " ")))
	for s != "" {
		said, rest, quoted := strings.Cut(s, `"`)
		q.words(said, quoted)
		s = ""
		if quoted {
			said, s, _ = strings.Cut(rest, `"`)
			q.phrase(strings.TrimSpace(said))
		}
		if len(q.needles) > MaxNeedles {
			return nil, ErrNeedles
		}
	}
	if len(q.needles) == 0 {
		return nil, ErrEmpty
	}
	slices.SortFunc(q.patterns, func(a, b Pattern) int {
		if a.How != b.How {
			return int(a.How) - int(b.How)
		}
		return strings.Compare(a.Text, b.Text)
	})
	q.patterns = slices.Compact(q.patterns)
	return q, nil
}

// words adds the words and runs of text that stands outside of quotes; more says that something follows.
func (q *Query) words(s string, more bool) {
	last, from := -1, len(q.needles)
	runs(s, func(c class, run string) bool {
		if c == gram {
			q.needles = append(q.needles, needle{inGram, run})
			q.grams(run)
			last = -1
			return len(q.needles) <= MaxNeedles
		}
		last = len(q.needles)
		q.needles = append(q.needles, needle{whole, run})
		return len(q.needles) <= MaxNeedles
	})
	if last >= 0 && !more && strings.HasSuffix(s, q.needles[last].text) {
		q.needles[last].kind = begins
	}
	for _, n := range q.needles[from:] {
		switch n.kind {
		case whole:
			q.patterns = append(q.patterns, Pattern{short(n.text), Is})
		case begins:
			q.beginning(n.text)
		}
	}
}

// phrase adds what stands in quotes. Its first and its last word may be parts of longer ones.
func (q *Query) phrase(s string) {
	if s == "" {
		return
	}
	at := 0
	first, _ := utf8.DecodeRuneInString(s)
	found := false
	runs(s, func(c class, run string) bool {
		from := at + strings.Index(s[at:], run)
		at = from + len(run)
		found = true
		switch {
		case from == 0 && unicode.IsMark(first): // in a text it belongs to what it stands on there
		case c == gram:
			q.grams(run)
		case from == 0 && at == len(s):
			if len(run) <= maxTerm {
				q.patterns = append(q.patterns, Pattern{run, Contains})
			} else {
				q.patterns = append(q.patterns, Pattern{Long, Is})
			}
		case from == 0:
			if len(run) <= maxTerm {
				q.patterns = append(q.patterns, Pattern{run, EndsWith})
			} else {
				q.patterns = append(q.patterns, Pattern{Long, Is})
			}
		case at == len(s):
			q.beginning(run)
		default:
			q.patterns = append(q.patterns, Pattern{short(run), Is})
		}
		return true
	})
	if found {
		q.needles = append(q.needles, needle{phrase, s})
	}
}

func (q *Query) beginning(s string) {
	if len(s) > maxTerm {
		q.patterns = append(q.patterns, Pattern{short(s), Is}, Pattern{Long, Is})
		return
	}
	q.patterns = append(q.patterns, Pattern{s, BeginsWith})
}

// grams adds the pairs of a run, or its only character.
func (q *Query) grams(run string) {
	add := func(s string) { q.patterns = append(q.patterns, Pattern{s, Is}) }
	if utf8.RuneCountInString(run) == 1 {
		add(run)
		return
	}
	grams(run, func(string) {}, add)
}

// Patterns are those that the terms of a matching text meet, all of them; not every text that meets them matches. They must
// not be changed.
func (q *Query) Patterns() []Pattern { return q.patterns }

// Match reports whether a folded text has all parts of the query.
func (q *Query) Match(s string) bool {
	var found uint32
	all := uint32(1)<<len(q.needles) - 1
	for i, n := range q.needles {
		if n.kind == phrase && strings.Contains(s, n.text) {
			found |= 1 << i
		}
	}
	runs(s, func(c class, run string) bool {
		for i, n := range q.needles {
			ok := false
			switch n.kind {
			case whole:
				ok = c == word && run == n.text
			case begins:
				ok = c == word && strings.HasPrefix(run, n.text)
			case inGram:
				ok = c == gram && strings.Contains(run, n.text)
			}
			if ok {
				found |= 1 << i
			}
		}
		return found != all
	})
	return found == all
}
