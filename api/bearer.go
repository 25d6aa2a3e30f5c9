package api

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/quota"
)

// bearer is the name of the security scheme. An operation without it asks nobody who they are.
const bearer = "bearer"

// byToken marks an operation whose caller is identified; without a token it is a guest.
var byToken = []map[string][]string{{bearer: {}}, {}}

// maxToken bounds the header; keys of 4096 bits and a full set of claims stay far below.
const maxToken = 16 << 10

type identityKey struct{}

// identify finds out who calls, before any body is read.
func (a *API) identify(ctx huma.Context, next func(huma.Context)) {
	if len(ctx.Operation().Security) == 0 {
		next(ctx)
		return
	}
	r, w := humago.Unwrap(ctx)
	id, err := a.caller(r)
	if err != nil {
		writeProblem(w, calls.ProblemFrom(err))
		return
	}
	next(huma.WithValue(ctx, identityKey{}, &who{id, a.cfg.Address(r)}))
}

// who is calling, and from where.
type who struct {
	auth.Identity
	addr netip.Addr
}

// spend takes a message of that many bytes from the caller's quota, which connections by MQTT use too.
func (a *API) spend(ctx context.Context, bytes int) error {
	w, _ := ctx.Value(identityKey{}).(*who)
	if w == nil {
		return nil
	}
	q := a.cfg.Quotas.Of(quota.Holder(w.Identity, w.addr))
	defer q.Done()
	if wait := q.Take(bytes); wait > 0 {
		return problem.New(problem.RateLimited, "").After(wait)
	}
	return nil
}

// spendOne makes an operation that writes cost a message, as the same call by MQTT does.
func (a *API) spendOne(ctx huma.Context, next func(huma.Context)) {
	if err := a.spend(ctx.Context(), 0); err != nil {
		_, w := humago.Unwrap(ctx)
		writeProblem(w, calls.ProblemFrom(err))
		return
	}
	next(ctx)
}

func (a *API) caller(r *http.Request) (auth.Identity, error) {
	if r.Header.Get("Madang-As") != "" { // it must not look as if it had an effect
		return auth.Identity{}, problem.New(problem.Unsupported, "Service keys, and with them Madang-As, are not offered yet.")
	}
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return a.cfg.Calls.Identify(r.Context(), "")
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.TrimSpace(token)
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return auth.Identity{}, problem.New(problem.Unauthenticated, "The header is: Authorization: Bearer TOKEN.")
	}
	return a.cfg.Calls.Identify(r.Context(), token)
}

// identityOf is who calls. identify has put it there for every operation marked with byToken.
func identityOf(ctx context.Context) auth.Identity {
	if w, ok := ctx.Value(identityKey{}).(*who); ok {
		return w.Identity
	}
	return auth.Identity{}
}
