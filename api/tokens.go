package api

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/madang-chat/madang/hooks/calls"
)

// maxSmallBody bounds every body that is not a message.
const maxSmallBody = 64 << 10

type loginRequest struct {
	Body calls.LoginInput
	addr netip.Addr
}

// Resolve notes where the request comes from.
func (l *loginRequest) Resolve(ctx huma.Context) []error {
	l.addr, _ = ctx.Context().Value(addressKey{}).(netip.Addr)
	return nil
}

type addressKey struct{}

// address puts where the request comes from where Resolve finds it.
func (a *API) address(ctx huma.Context, next func(huma.Context)) {
	r, _ := humago.Unwrap(ctx)
	next(huma.WithValue(ctx, addressKey{}, a.cfg.Address(r)))
}

type guestRequest struct {
	Body *calls.GuestInput
}

type answer[T any] struct {
	Body T
}

// answered makes the answer of what a call returned.
func answered[T any](v T, err error) (*answer[T], error) {
	if err != nil {
		return nil, fail(err)
	}
	return &answer[T]{v}, nil
}

// errorsOf are the statuses that a problem may have: what every operation may answer, and these.
func errorsOf(more ...int) []int {
	return append([]int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusServiceUnavailable,
	}, more...)
}

// bodyErrors are those an operation with a JSON body may answer beside errorsOf.
func bodyErrors(more ...int) []int {
	return errorsOf(append([]int{
		http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
	}, more...)...)
}

func (a *API) registerTokens(h huma.API) {
	c := a.cfg.Calls
	huma.Register(h, huma.Operation{
		OperationID: "login", Method: http.MethodPost, Path: "/auth/login", Tags: []string{"auth"},
		Summary:      "Get a token for a user and password",
		MaxBodyBytes: maxSmallBody, Errors: bodyErrors(), Middlewares: huma.Middlewares{a.address},
	}, func(ctx context.Context, in *loginRequest) (*answer[calls.Token], error) {
		return answered(c.Login(ctx, in.addr, in.Body))
	})
	huma.Register(h, huma.Operation{
		OperationID: "guest", Method: http.MethodPost, Path: "/auth/guest", Tags: []string{"auth"},
		Summary:       "Get a token for a guest who can be known again",
		DefaultStatus: http.StatusCreated, MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden),
	}, func(ctx context.Context, in *guestRequest) (*answer[calls.GuestToken], error) {
		if in.Body == nil {
			in.Body = &calls.GuestInput{}
		}
		return answered(c.GuestToken(ctx, *in.Body))
	})
	huma.Register(h, huma.Operation{
		OperationID: "whoami", Method: http.MethodGet, Path: "/whoami", Tags: []string{"auth"},
		Summary: "Who the token says you are", Security: byToken, Errors: errorsOf(),
	}, func(ctx context.Context, _ *struct{}) (*answer[calls.Self], error) {
		return answered(c.Whoami(ctx, identityOf(ctx)))
	})
}

var _ huma.Resolver = (*loginRequest)(nil)
