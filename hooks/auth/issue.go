package auth

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// What marks the tokens the broker issues itself. The key id alone decides which key a token is checked with; issuer
// and audience are checked on top.
const (
	brokerKeyID  = "madang.broker.1"
	brokerIssuer = "madang"

	useLogin = "login"
	useGuest = "guest"

	useRegister = "register" // lets its bearer register, and nothing else
)

// TokenClaims is what a token made by IssueToken says beside its user. The zero value says nothing more.
type TokenClaims struct {
	Name     string
	Level    *int64
	Roles    []string // of "admin" and "auditor"
	Issuer   string   // must equal auth.jwt.issuer where that is set
	Audience string   // must equal auth.jwt.audience where that is set
	Register bool     // it lets its bearer register as the user, or, when that is "*" or "ns/*", as anybody; no login
}

// IssueToken makes a token for user ("alice" or "ns/alice") that ends after ttl, signed with the secret of
// auth.jwt.hmac_secret_file (see ReadSecretFile). Every broker with that secret accepts it.
func IssueToken(secret []byte, user string, claims TokenClaims, ttl time.Duration) (string, error) {
	if err := checkSecret(secret); err != nil {
		return "", err
	}
	named := user
	if ns, everybody := strings.CutSuffix(user, anyUser); everybody && claims.Register && (ns == "" || strings.HasSuffix(ns, "/")) {
		named = ns + "user"
	}
	if _, _, err := SplitLogin(named, defaultNamespace); err != nil {
		return "", err
	}
	if ttl < time.Second {
		return "", fmt.Errorf("%w: a token must live for a second at least", ErrBadConfig)
	}
	now := clock.Now()
	payload := map[string]any{"sub": user, "iat": now.Unix(), "exp": now.Add(ttl).Unix()}
	if claims.Register {
		payload["use"] = useRegister
	}
	if claims.Name != "" {
		if !validDisplayName(claims.Name) {
			return "", fmt.Errorf("%w: %s", ErrBadName, displayNameRule)
		}
		payload["name"] = claims.Name
	}
	if claims.Level != nil {
		payload["level"] = *claims.Level
	}
	for _, r := range claims.Roles {
		if r != "admin" && r != "auditor" {
			return "", fmt.Errorf("%w: the roles of a token are admin and auditor", ErrBadConfig)
		}
	}
	if len(claims.Roles) > 0 {
		payload["roles"] = claims.Roles
	}
	if claims.Issuer != "" {
		payload["iss"] = claims.Issuer
	}
	if claims.Audience != "" {
		payload["aud"] = claims.Audience
	}
	return sign(secret, "", payload)
}

const displayNameRule = "a display name is 1-64 characters, none of them a control character"

// brokerKey turns the cluster's secret into the key of the tokens the broker issues. The secret itself signs nothing.
type brokerKey struct {
	secret  func() []byte
	derived atomic.Pointer[derivedKey]
}

type derivedKey struct{ from, key []byte }

// get returns the key, nil while the cluster's secret is not known to this node.
func (b *brokerKey) get() []byte {
	secret := b.secret()
	if len(secret) < minSecret {
		return nil
	}
	if d := b.derived.Load(); d != nil && bytes.Equal(d.from, secret) {
		return d.key
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "madang broker tokens 1", sha256.Size)
	if err != nil { // only for a length no hash can give
		return nil
	}
	b.derived.Store(&derivedKey{bytes.Clone(secret), key})
	return key
}

// issue makes a token of the broker's own. The error is a Refusal: the cluster's secret is not known yet.
func (b *brokerKey) issue(id Identity, use, via string, ttl time.Duration) (string, time.Time, error) {
	key := b.get()
	if key == nil {
		return "", time.Time{}, errNotReady()
	}
	now := clock.Now()
	expires := time.Unix(now.Add(ttl).Unix(), 0)
	payload := map[string]any{
		"iss": brokerIssuer, "aud": brokerIssuer, "sub": id.Login(), "iat": now.Unix(), "exp": expires.Unix(),
		"use": use, "via": via,
	}
	var unique [12]byte
	rand.Read(unique[:]) // never fails
	payload["jti"] = base64.RawURLEncoding.EncodeToString(unique[:])
	if id.Name != "" && use != useLogin { // that of a user is looked up
		payload["name"] = id.Name
	}
	if id.TokenDevice != "" {
		payload["dev"] = id.TokenDevice
	}
	if id.Logouts > 0 {
		payload["lo"] = id.Logouts
	}
	signed, err := sign(key, brokerKeyID, payload)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign token: %w", err)
	}
	return signed, expires, nil
}

func errNotReady() *Refusal {
	return &Refusal{
		Code: CodeNoQuorum, Title: "this node is not ready to check or issue tokens yet, try again", RetryAfter: time.Second,
	}
}

// newGuestName draws a name nobody else has or guesses: 80 random bits.
func newGuestName() string {
	var b [10]byte
	rand.Read(b[:]) // never fails
	return guestPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}
