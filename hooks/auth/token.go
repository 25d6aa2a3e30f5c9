package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxToken = 8 << 10
	maxKeyID = 256
	leeway   = 30 * time.Second // for nbf and iat: clocks differ; exp is taken as it is
	maxTime  = 1 << 53          // seconds
)

// token is a JWT taken apart; nothing in it is believed before its signature is.
type token struct {
	alg, kid  string
	signed    string // header and payload as they stand in the token
	payload   string
	signature []byte
}

// looksLikeToken reports whether a password is meant as a JWT: three dot-separated parts of base64url, the first of
// them a JSON object. A password that merely has two dots is none.
func looksLikeToken(password []byte) bool {
	header, rest, ok := bytes.Cut(password, []byte{'.'})
	if !ok || bytes.Count(rest, []byte{'.'}) != 1 || !base64URL(header) {
		return false
	}
	payload, signature, _ := bytes.Cut(rest, []byte{'.'})
	if !base64URL(payload) || len(signature) > 0 && !base64URL(signature) {
		return false
	}
	return len(header) <= maxToken && decodeObject(string(header)) != nil
}

func base64URL(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return len(b) > 0
}

// decodeObject decodes base64url of one JSON object, nil for anything else. Names are matched exactly, so "Roles" is
// not "roles".
func decodeObject(s string) map[string]any {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var object map[string]any
	if dec.Decode(&object) != nil {
		return nil
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { // More is no answer: it passes over a closing bracket
		return nil
	}
	return object
}

// parseToken takes a token apart and refuses what no key could make good.
func parseToken(s string) (token, *Refusal) {
	if len(s) > maxToken {
		return token{}, unauthenticated("the token is larger than 8 KiB")
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return token{}, unauthenticated("the token is not a JWT")
	}
	header := decodeObject(parts[0])
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if header == nil || err != nil {
		return token{}, unauthenticated("the token is not a JWT")
	}
	t := token{signed: s[:len(parts[0])+1+len(parts[1])], payload: parts[1], signature: signature}
	t.alg, _ = header["alg"].(string)
	if methods[t.alg] == nil {
		return token{}, unauthenticated("the token's algorithm is not accepted (HS256, RS256, ES256 and EdDSA are)")
	}
	if _, ok := header["crit"]; ok {
		return token{}, unauthenticated("the token demands an extension (crit) that is not known here")
	}
	if kid, ok := header["kid"]; ok {
		if t.kid, ok = kid.(string); !ok || len(t.kid) > maxKeyID {
			return token{}, unauthenticated("the token's key id is not a string of at most 256 bytes")
		}
	}
	return t, nil
}

// verifiedBy reports whether one of the keys, which are all of the token's algorithm, made its signature.
func (t token) verifiedBy(keys []any) bool {
	for _, key := range keys {
		if methods[t.alg].Verify(t.signed, t.signature, key) == nil {
			return true
		}
	}
	return false
}

// claims is the payload of a token whose signature was verified.
type claims map[string]any

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// seconds returns a time claim. ok is false when it is there and no time; an absent one is the zero time.
func (c claims) seconds(name string) (t time.Time, ok bool) {
	v, there := c[name]
	if !there || v == nil {
		return time.Time{}, true
	}
	n, isNumber := v.(json.Number)
	if !isNumber {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > maxTime {
		return time.Time{}, false
	}
	whole := int64(f)
	return time.Unix(whole, int64((f-float64(whole))*1e9)), true
}

// hasAudience reports whether want is the token's audience or one of them.
func (c claims) hasAudience(want string) bool {
	switch aud := c["aud"].(type) {
	case string:
		return aud == want
	case []any:
		if slices.Contains(aud, any(want)) {
			return true
		}
	}
	return false
}

// checkTimes refuses a token outside its life. A token without an end is refused too. One of the broker's own may have been
// issued later than now: by another node, or by this one before its clock was set back.
func (c claims) checkTimes(now time.Time, own bool) (expires time.Time, refusal *Refusal) {
	expires, ok := c.seconds("exp")
	if !ok || expires.IsZero() {
		return expires, unauthenticated("the token has no expiry (claim exp, in seconds)")
	}
	for _, name := range []string{"nbf", "iat"} {
		from, ok := c.seconds(name)
		if !ok {
			return expires, unauthenticated("the token's claim " + name + " is not a time in seconds")
		}
		if !own && now.Add(leeway).Before(from) {
			return expires, unauthenticated("the token is not valid yet (claim " + name + "); check the clocks")
		}
	}
	if !now.Before(expires) {
		return expires, refuse(CodeTokenExpired, "the token has expired")
	}
	return expires, nil
}

// level returns the claim "level"; ok is false when it is there and no integer below 2^53.
func (c claims) level() (level *int64, ok bool) {
	v, there := c["level"]
	if !there || v == nil {
		return nil, true
	}
	n, isNumber := v.(json.Number)
	if !isNumber {
		return nil, false
	}
	i, err := n.Int64()
	if err != nil || i > 1<<53-1 || i < -(1<<53-1) {
		return nil, false
	}
	return &i, true
}

// count returns a claim that counts something; ok is false when it is there and no such number.
func (c claims) count(name string) (n uint64, ok bool) {
	v, there := c[name]
	if !there {
		return 0, true
	}
	number, _ := v.(json.Number)
	n, err := strconv.ParseUint(number.String(), 10, 53)
	return n, err == nil
}

// roles reports the namespace roles the token grants; ok is false when they are not a list of strings. Roles that are
// not known here belong to somebody else and are passed over.
func (c claims) roles() (admin, auditor, ok bool) {
	v, there := c["roles"]
	if !there || v == nil {
		return false, false, true
	}
	list, isList := v.([]any)
	if !isList {
		return false, false, false
	}
	for _, r := range list {
		switch r := r.(type) {
		case string:
			admin = admin || r == "admin"
			auditor = auditor || r == "auditor"
		default:
			return false, false, false
		}
	}
	return admin, auditor, true
}

// displayName makes a name from elsewhere fit to be shown: one line of at most 64 characters.
func displayName(s string) string {
	s = strings.Map(func(r rune) rune {
		if !printable(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = strings.TrimSpace(s)
	n := 0
	for i := range s {
		if n == maxDisplayName {
			return strings.TrimSpace(s[:i])
		}
		n++
	}
	return s
}

// ValidDisplayName reports whether s may be shown as a name.
func ValidDisplayName(s string) bool { return validDisplayName(s) }

// validDisplayName reports whether s is a name a guest may choose.
func validDisplayName(s string) bool {
	n := utf8.RuneCountInString(s)
	return utf8.ValidString(s) && n >= 1 && n <= maxDisplayName && strings.TrimSpace(s) != "" &&
		strings.IndexFunc(s, func(r rune) bool { return !printable(r) }) < 0
}

// printable excludes control characters, line and paragraph separators, and the marks that reverse the direction of
// what follows, by which a name can pose as another.
func printable(r rune) bool {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029':
		return false
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
		return false
	}
	return true
}

// sign makes an HS256 token.
func sign(secret []byte, kid string, payload map[string]any) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(payload))
	if kid != "" {
		t.Header["kid"] = kid
	}
	return t.SignedString(secret)
}
