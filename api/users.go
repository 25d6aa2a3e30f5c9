package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/storage"
)

type (
	registerRequest struct {
		Body calls.UserRegisterInput
	}
	userRequest struct {
		User        string `path:"user" doc:"the user's id"`
		Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
	}
	userSetRequest struct {
		User string `path:"user" doc:"the user's id"`
		Body struct {
			Name        *string                    `json:"name,omitempty" doc:"display name"`
			Password    *string                    `json:"password,omitempty" doc:"new password"`
			OldPassword string                     `json:"old_password,omitempty" doc:"needed for a new one of oneself"`
			Attributes  map[string]json.RawMessage `json:"attributes,omitempty" doc:"what changes; null takes one away"`
			Disabled    *bool                      `json:"disabled,omitempty" doc:"keeps the user out; for admins"`
		}
	}
	userDeleteRequest struct {
		User string             `path:"user" doc:"the user's id"`
		Mode storage.DeleteMode `query:"mode" enum:"anonymise,erase" doc:"what becomes of their messages: anonymise (default) keeps what they say, erase leaves stubs"`
	}
	usersRequest struct {
		Query       string `query:"q" doc:"beginning of an id or a name, whatever its case; admins may leave it out"`
		Limit       int    `query:"limit" doc:"users per page, 50 when not given, at most 200" minimum:"0"`
		After       string `query:"after" doc:"next of the page before"`
		Consistency string `query:"consistency" enum:"strong" doc:"strong: with everything that was acknowledged before, on any node"`
	}
	logoutRequest struct {
		Body *calls.LogoutInput
	}
	registerTokenRequest struct {
		Body *calls.RegisterTokenInput
	}
)

// nobody marks an operation that needs no caller, though one may say who they are.
var nobody = map[string]any{"nobody": true}

func (a *API) registerUsers(h huma.API) {
	c := a.cfg.Calls
	tags := []string{"users"}
	writes := huma.Middlewares{a.spendOne}
	huma.Register(h, huma.Operation{
		OperationID: "user.register", Method: http.MethodPost, Path: "/users", Tags: tags, Summary: "Register",
		Description: "Who may is said by auth.register. Admins, and service keys with the scope users, register anybody.",
		Security:    byToken, Metadata: nobody, DefaultStatus: http.StatusCreated, MaxBodyBytes: maxSmallBody,
		Errors: bodyErrors(http.StatusForbidden, http.StatusConflict),
	}, func(ctx context.Context, in *registerRequest) (*answer[calls.Profile], error) {
		return answered(c.UserRegister(ctx, identityOf(ctx), in.Body))
	})
	huma.Register(h, huma.Operation{
		OperationID: "user.search", Method: http.MethodGet, Path: "/users", Tags: tags, Summary: "Find users by id or name",
		Security: byToken, Errors: errorsOf(http.StatusForbidden),
	}, func(ctx context.Context, in *usersRequest) (*answer[calls.UsersPage], error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return answered(c.UserSearch(ctx, identityOf(ctx), calls.UserSearchInput{Query: in.Query, Limit: in.Limit, After: in.After}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "user.get", Method: http.MethodGet, Path: "/users/{user}", Tags: tags, Summary: "A user",
		Security: byToken, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *userRequest) (*answer[calls.Profile], error) {
		if err := a.await(ctx, in.Consistency); err != nil {
			return nil, fail(err)
		}
		return answered(c.UserGet(ctx, identityOf(ctx), calls.UserInput{User: in.User}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "user.set", Method: http.MethodPatch, Path: "/users/{user}", Tags: tags, Summary: "Change a user",
		Security: byToken, Middlewares: writes, MaxBodyBytes: maxSmallBody,
		Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound, http.StatusConflict),
	}, func(ctx context.Context, in *userSetRequest) (*answer[calls.Profile], error) {
		return answered(c.UserSet(ctx, identityOf(ctx), calls.UserSetInput{
			User: in.User, Name: in.Body.Name, Password: in.Body.Password, OldPassword: in.Body.OldPassword,
			Attributes: in.Body.Attributes, Disabled: in.Body.Disabled,
		}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "user.delete", Method: http.MethodDelete, Path: "/users/{user}", Tags: tags, Summary: "Delete a user",
		Security: byToken, Middlewares: writes,
		Errors: errorsOf(http.StatusForbidden, http.StatusNotFound, http.StatusConflict),
	}, func(ctx context.Context, in *userDeleteRequest) (*answer[calls.UserDeleted], error) {
		return answered(c.UserDelete(ctx, identityOf(ctx), calls.UserDeleteInput{User: in.User, Mode: in.Mode}))
	})
	huma.Register(h, huma.Operation{
		OperationID: "logout", Method: http.MethodPost, Path: "/auth/logout", Tags: []string{"auth"},
		Summary:     "End this token, a device, or everything that was issued to you",
		Description: "The tokens are refused on every node; connections and stored sessions end.",
		Security:    byToken, Middlewares: writes, MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden, http.StatusNotFound),
	}, func(ctx context.Context, in *logoutRequest) (*answer[calls.LoggedOut], error) {
		if in.Body == nil {
			in.Body = &calls.LogoutInput{}
		}
		return answered(c.Logout(ctx, identityOf(ctx), *in.Body))
	})
	huma.Register(h, huma.Operation{
		OperationID: "register_token", Method: http.MethodPost, Path: "/auth/register_token", Tags: []string{"auth"},
		Summary: "Get a token by which somebody registers, as an admin", Security: byToken, DefaultStatus: http.StatusCreated,
		MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden),
	}, func(ctx context.Context, in *registerTokenRequest) (*answer[calls.Token], error) {
		if in.Body == nil {
			in.Body = &calls.RegisterTokenInput{}
		}
		return answered(c.RegisterToken(ctx, identityOf(ctx), *in.Body))
	})
}
