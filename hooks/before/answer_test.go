package before

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestParseAnswer(t *testing.T) {
	for body, want := range map[string]Answer{
		`{"action":"allow"}`:                                            {Action: Allow},
		` {"action":"allow","more":[1]} `:                               {Action: Allow},
		`{"action":"deny"}`:                                             {Action: Deny},
		`{"action":"deny","reason":" no\nlinks "}`:                      {Action: Deny, Reason: "no links"},
		`{"action":"replace","data":{"text":"***"}}`:                    {Action: Replace, Data: []byte(`{"text":"***"}`)},
		`{"action":"replace","data":null}`:                              {Action: Replace, Data: []byte(`null`)},
		`{"action":"deny","reason":"` + strings.Repeat("한", 300) + `"}`: {Action: Deny, Reason: strings.Repeat("한", maxReason)},
	} {
		got, err := ParseAnswer([]byte(body))
		if err != nil || got.Action != want.Action || got.Reason != want.Reason || string(got.Data) != string(want.Data) {
			t.Errorf("%s is %+v, %v", body, got, err)
		}
	}
	for _, body := range []string{
		``, `null`, `[]`, `"allow"`, `{}`, `{"action":"Allow"}`, `{"action":1}`, `{"action":"replace"}`, `{"action":"allow"}{}`,
		`{"action":"allow"} x`, `{"action":"allow"`, "{\"action\":\"deny\",\"reason\":\"\xff\"}", `<html>`,
	} {
		if got, err := ParseAnswer([]byte(body)); !errors.Is(err, ErrAnswer) {
			t.Errorf("%q is %+v, %v", body, got, err)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"action":"allow"}`))
	f.Add([]byte(`{"action":"deny","reason":"x\u0000y"}`))
	f.Add([]byte(`{"action":"replace","data":{"a":[1,2]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := ParseAnswer(body)
		if err != nil {
			return
		}
		if a.Action != Allow && a.Action != Deny && a.Action != Replace || (a.Data != nil) != (a.Action == Replace) {
			t.Fatalf("%+v", a)
		}
		if strings.ContainsFunc(a.Reason, unicode.IsControl) || utf8.RuneCountInString(a.Reason) > maxReason || !utf8.ValidString(a.Reason) {
			t.Fatalf("reason %q", a.Reason)
		}
		if a.Data != nil && !json.Valid(a.Data) {
			t.Fatalf("data %q", a.Data)
		}
	})
}
