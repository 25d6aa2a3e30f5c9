package before

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Action is what a receiver decides.
type Action string

// The actions.
const (
	Allow   Action = "allow"
	Deny    Action = "deny"
	Replace Action = "replace"
)

// Answer is what a receiver says.
type Answer struct {
	Action Action
	Reason string // of a denial, for people: at most maxReason characters, none of them a control character
	Data   []byte // of a replacement: a JSON value
}

const maxReason = 200

// ErrAnswer is returned for an answer that cannot be used.
var ErrAnswer = errors.New(`no answer: {"action":"allow"}, {"action":"deny","reason":".."} and {"action":"replace","data":..} are`)

// ParseAnswer reads an answer. Keys that it does not know are left alone.
func ParseAnswer(body []byte) (Answer, error) {
	var in struct {
		Action string          `json:"action"`
		Reason string          `json:"reason"`
		Data   json.RawMessage `json:"data"`
	}
	b := bytes.TrimSpace(body)
	if len(b) == 0 || b[0] != '{' || !utf8.Valid(b) {
		return Answer{}, ErrAnswer
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&in); err != nil {
		return Answer{}, ErrAnswer
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Answer{}, ErrAnswer
	}
	switch a := Action(in.Action); a {
	case Allow:
		return Answer{Action: a}, nil
	case Deny:
		return Answer{Action: a, Reason: plain(in.Reason)}, nil
	case Replace:
		if len(in.Data) == 0 {
			return Answer{}, ErrAnswer
		}
		return Answer{Action: a, Data: in.Data}, nil
	}
	return Answer{}, ErrAnswer
}

// plain makes one line of a reason, and not a long one.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > maxReason {
		s = string(r[:maxReason])
	}
	return strings.TrimSpace(s)
}
