package topic

import (
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
)

// Held are the filters of one session, under a limit. It is not safe for concurrent use: it belongs to whoever reads the
// session's packets, so that filters of one SUBSCRIBE count against each other before any of them is in effect.
type Held struct {
	raw map[string]struct{}
}

// NewHeld returns a session's filters, to begin with those that a stored session has.
func NewHeld(raw ...string) *Held {
	h := &Held{raw: make(map[string]struct{}, len(raw))}
	for _, r := range raw {
		h.raw[r] = struct{}{}
	}
	return h
}

// Add takes a filter in that may be granted, or says why the session can hold no more. Subscribing again to a filter that
// is held, in any of its forms, changes nothing here. most is how many there may be, 0 = any number.
func (h *Held) Add(f Filter, most int) *problem.Problem {
	if _, again := h.raw[f.Raw]; again {
		return nil
	}
	if most > 0 && len(h.raw) >= most {
		return problem.Over(problem.Limit, limit.FiltersPerSession, "A session has at most %d filters; unsubscribe some.", most)
	}
	h.raw[f.Raw] = struct{}{}
	return nil
}

// Remove takes out the filter of an UNSUBSCRIBE, in any of its forms, or one whose subscription did not come about.
func (h *Held) Remove(s string) { delete(h.raw, Identity(s)) }

// Len is the number of filters held.
func (h *Held) Len() int { return len(h.raw) }
