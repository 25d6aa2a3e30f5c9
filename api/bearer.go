package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
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
	next(huma.WithValue(ctx, identityKey{}, id))
}

func (a *API) caller(r *http.Request) (auth.Identity, error) {
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
	id, _ := ctx.Value(identityKey{}).(auth.Identity)
	return id
}
