package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// verify checks the signature of a token and nothing else. byBroker tells who signed it.
//
// The key id of the header chooses between the broker's own key and those of auth.jwt, and among the keys of a key
// set. It is compared, never used as a path, a URL or a query.
func (c *Chain) verify(ctx context.Context, s string) (t token, byBroker bool, refusal *Refusal) {
	t, refusal = parseToken(s)
	if refusal != nil {
		return t, false, refusal
	}
	if t.kid == brokerKeyID {
		key := c.broker.get()
		switch {
		case key == nil:
			return t, true, errNotReady()
		case t.alg != "HS256" || !t.verifiedBy([]any{key}):
			return t, true, errBadSignature()
		}
		return t, true, nil
	}
	return t, false, c.verifyExternal(ctx, t)
}

func (c *Chain) verifyExternal(ctx context.Context, t token) *Refusal {
	fromFile := c.files.Load().keys[t.alg]
	if t.verifiedBy(fromFile) {
		return nil
	}
	if c.jwks == nil || t.alg == "HS256" {
		if len(fromFile) == 0 {
			return unauthenticated("no key for the token's algorithm is configured here")
		}
		return errBadSignature()
	}
	keys, loaded := c.jwks.find(t.alg, t.kid)
	if len(keys) == 0 && c.jwks.refresh(ctx) {
		keys, loaded = c.jwks.find(t.alg, t.kid)
	}
	switch {
	case t.verifiedBy(keys):
		return nil
	case !loaded:
		return &Refusal{
			Code: CodeNoQuorum, Title: "the keys that tokens are checked with cannot be reached yet, try again",
			RetryAfter: jwksRetry,
		}
	case len(keys) == 0:
		return unauthenticated("the token's key id is not in the key set")
	}
	return errBadSignature()
}

func errBadSignature() *Refusal { return unauthenticated("the token's signature is wrong") }

// identify reads the claims of a token whose signature is right.
func (c *Chain) identify(t token, byBroker bool) (Identity, error) {
	payload := claims(decodeObject(t.payload))
	if payload == nil {
		return Identity{}, unauthenticated("the token's claims are not a JSON object")
	}
	if payload.text("use") == useRegister {
		return Identity{}, unauthenticated("the token is for registering (POST /users), not for logging in")
	}
	var id Identity
	var refusal *Refusal
	if byBroker {
		id, refusal = c.identifyOwn(payload)
	} else {
		id, refusal = c.identifyExternal(payload)
	}
	if refusal != nil {
		return Identity{}, refusal
	}
	if !id.Guest {
		id.TokenID = tokenID(t.signed)
	}
	return c.begin(id)
}

// tokenID names a token by what is signed of it.
func tokenID(signed string) string {
	sum := sha256.Sum256([]byte(signed))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// identifyExternal reads a token signed by a key of auth.jwt.
func (c *Chain) identifyExternal(p claims) (Identity, *Refusal) {
	want := c.cfg.JWT
	if want.Issuer != "" && p.text("iss") != want.Issuer {
		return Identity{}, unauthenticated("the token's issuer (claim iss) is not the one configured here")
	}
	if want.Audience != "" && !p.hasAudience(want.Audience) {
		return Identity{}, unauthenticated("the token is not meant for this service (claim aud)")
	}
	namespace, user, err := SplitLogin(p.text("sub"), c.cfg.DefaultNamespace)
	if err != nil {
		return Identity{}, unauthenticated("the token's subject (claim sub) is no user: " + err.Error())
	}
	id := Identity{Namespace: namespace, User: user, Method: MethodJWT}
	if name, ok := p["name"]; ok && name != nil {
		s, ok := name.(string)
		if !ok {
			return Identity{}, unauthenticated("the token's claim name is not a string")
		}
		id.Name = displayName(s)
	}
	var ok bool
	if id.Level, ok = p.level(); !ok {
		return Identity{}, unauthenticated("the token's claim level is not an integer")
	}
	if id.Admin, id.Auditor, ok = p.roles(); !ok {
		return Identity{}, unauthenticated("the token's claim roles is not a list of strings")
	}
	// An issuer who means a guest must not get a user by mistake.
	if guest, ok := p["guest"]; ok && guest != nil && guest != false {
		return Identity{}, unauthenticated("only the broker itself issues tokens for guests (POST /auth/guest)")
	}
	id.Issued, _ = p.seconds("iat") // checkTimes refuses one that is no time
	var refusal *Refusal
	if id.Expires, refusal = p.checkTimes(clock.Now(), false); refusal != nil {
		return Identity{}, refusal
	}
	return id, nil
}

// identifyOwn reads a token the broker issued.
func (c *Chain) identifyOwn(p claims) (Identity, *Refusal) {
	if p.text("iss") != brokerIssuer || !p.hasAudience(brokerIssuer) {
		return Identity{}, unauthenticated("the token was not issued for this broker")
	}
	namespace, user, _ := strings.Cut(p.text("sub"), "/")
	if !ValidNamespace(namespace) {
		return Identity{}, unauthenticated("the token's subject (claim sub) is no user")
	}
	id := Identity{Namespace: namespace, User: user, Name: displayName(p.text("name"))}
	var expires time.Time
	expires, refusal := p.checkTimes(clock.Now(), true)
	if refusal != nil {
		return Identity{}, refusal
	}
	id.Expires = expires
	switch use := p.text("use"); {
	case use == useGuest && validGuest(user):
		if !c.GuestsAdmitted() {
			return Identity{}, unauthenticated("guests are not admitted here (auth.guest is off)")
		}
		id.Guest, id.Method = true, MethodGuestToken
		return id, nil
	case use == useLogin && ValidUser(user):
		if via := p.text("via"); via == MethodTrust && !c.cfg.Trust || !c.exists(id) {
			return Identity{}, errUserGone()
		}
		id.Method, id.TokenDevice = MethodLogin, p.text("dev")
		id.Logouts, _ = p.count("lo")
		return c.withRoles(id), nil
	}
	return Identity{}, unauthenticated("the token is of a kind that is not known here")
}
