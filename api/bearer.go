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
	id, err := a.caller(r, ctx.Operation().Metadata["nobody"] != nil)
	if err == nil {
		id, err = a.cfg.Calls.Allow(id, ctx.Operation().OperationID)
	}
	if err != nil {
		a.writeProblem(w, calls.ProblemFrom(err))
		return
	}
	addr := a.cfg.Address(r)
	ctx = huma.WithContext(ctx, calls.WithAddr(ctx.Context(), addr))
	next(huma.WithValue(ctx, identityKey{}, &who{id, addr}))
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
	refused := func(q *quota.Quota) *problem.Problem {
		defer q.Done()
		return q.Refuse(bytes)
	}
	// In this order: who floods alone takes nothing from the others at the address.
	if bad := refused(a.cfg.Quotas.Of(quota.Holder(w.Identity, w.addr))); bad != nil {
		return bad
	}
	if bad := refused(a.ofAddress(w.addr)); bad != nil {
		return bad
	}
	return nil
}

// ofAddress is the quota of an address, nil where it stands for many clients.
func (a *API) ofAddress(addr netip.Addr) *quota.Quota {
	if !addr.IsValid() || a.cfg.Shared(addr) {
		return nil
	}
	return a.cfg.Addresses.Of(quota.Address(addr))
}

// spendOne makes an operation that writes cost a message, as the same call by MQTT does.
func (a *API) spendOne(ctx huma.Context, next func(huma.Context)) {
	if err := a.spend(ctx.Context(), 0); err != nil {
		_, w := humago.Unwrap(ctx)
		a.writeProblem(w, calls.ProblemFrom(err))
		return
	}
	next(ctx)
}

// caller is who asks; nobody says that it may be nobody. A service key acts as the user in Madang-As.
func (a *API) caller(r *http.Request, nobody bool) (auth.Identity, error) {
	headers := r.Header.Values("Authorization")
	if as := r.Header.Values("Madang-As"); len(as) > 0 {
		id, err := a.bearer(r, headers)
		if err != nil {
			return id, err
		}
		return a.cfg.Calls.As(id, strings.Join(as, ","))
	}
	if nobody && len(headers) == 0 {
		return auth.Identity{}, nil
	}
	return a.bearer(r, headers)
}

func (a *API) bearer(r *http.Request, headers []string) (auth.Identity, error) {
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
