// Package problem is how the broker says no: the one table of wire codes with their meaning in HTTP and MQTT, and the
// two JSON forms a refusal takes (RFC 9457 and the body of me/error).
package problem

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/limit"
)

// maxDetail bounds a detail in bytes. It may quote what a client sent and travels in a v5 reason string.
const maxDetail = 400

// Problem is a refusal. It is immutable once it was handed on.
type Problem struct {
	Code       Code
	Status     int           // HTTP status
	Title      string        // what the code means, the same every time
	Detail     string        // this case; a full sentence, or empty
	RetryAfter time.Duration // 0 = not known
	Limit      limit.Key     // the limit that is over, which the detail names
	Suback     byte          // v5 SUBACK reason where the code's own is too coarse; 0 = the code's
}

// New returns a refusal with the status and title of its code. The detail is a sentence about this case, formatted as
// by fmt.Sprintf, or empty. What it quotes may come from a client: invalid UTF-8 and control characters are replaced and
// an overlong detail is cut.
func New(code Code, detailFormat string, args ...any) *Problem {
	m := code.meaning()
	return &Problem{Code: code, Status: m.status, Title: m.title, Detail: clean(fmt.Sprintf(detailFormat, args...))}
}

// Over returns the refusal of a limit: New, with the key by which it is changed at the end of the detail.
func Over(code Code, key limit.Key, detailFormat string, args ...any) *Problem {
	p := New(code, detailFormat, args...)
	if p.Detail == "" {
		p.Detail = p.Title
	}
	p.Limit, p.Detail = key, strings.TrimSuffix(p.Detail, ".")+" ("+key.String()+")."
	return p
}

// SharedSubscription is the refusal of a $share filter: unsupported, with the reason code that MQTT v5 has for it.
func SharedSubscription() *Problem {
	p := New(Unsupported, "Shared subscriptions are not offered, since every reader of a room gets every message; "+
		"subscribe without $share/.")
	p.Suback = reasonNoShared
	return p
}

// After returns a copy of p that asks the client to wait for d.
func (p *Problem) After(d time.Duration) *Problem {
	q := *p
	q.RetryAfter = max(d, 0)
	return &q
}

// Error returns the code and the sentence.
func (p *Problem) Error() string { return string(p.Code) + ": " + p.Sentence() }

// Is makes errors.Is compare refusals by their code.
func (p *Problem) Is(target error) bool {
	q, ok := target.(*Problem) //nolint:errorlint // errors.Is unwraps; this compares one link of the chain.
	return ok && q != nil && q.Code == p.Code
}

// Sentence is the most telling sentence there is: the detail, else the title. It is the v5 reason string and the title
// in me/error, which has no detail.
func (p *Problem) Sentence() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// Reason is the v5 reason code for PUBACK and PUBREC.
func (p *Problem) Reason() byte { return p.Code.Reason() }

// SubackReason is the v5 reason code for SUBACK.
func (p *Problem) SubackReason() byte {
	if p.Suback != 0 {
		return p.Suback
	}
	return p.Code.SubackReason()
}

// RetryAfterSeconds is RetryAfter in whole seconds, rounded up; 0 = not known. It is also the Retry-After header.
func (p *Problem) RetryAfterSeconds() int64 {
	if p.RetryAfter <= 0 {
		return 0
	}
	s := int64(p.RetryAfter / time.Second)
	if p.RetryAfter%time.Second != 0 {
		s++
	}
	return s
}

// GetStatus is the HTTP status, as HTTP frameworks ask for it.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the media type of MarshalJSON's form, whatever was negotiated.
func (p *Problem) ContentType(string) string { return ContentType }

// clean makes s fit for a reason string and a terminal.
func clean(s string) string {
	bad := func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }
	if strings.ContainsFunc(s, bad) || !utf8.ValidString(s) {
		s = strings.Map(func(r rune) rune {
			if bad(r) {
				return utf8.RuneError
			}
			return r
		}, s)
	}
	if len(s) <= maxDetail {
		return s
	}
	const more = "..."
	n := maxDetail - len(more)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + more
}

var _ error = (*Problem)(nil)
