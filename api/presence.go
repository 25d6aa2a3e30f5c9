package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
)

type (
	ofUserRequest struct {
		User string `path:"user" doc:"the user's name"`
	}
	deviceRequest struct {
		Device string `path:"device" doc:"the client id, percent-encoded"`
	}
	userDeviceRequest struct {
		User   string `path:"user" doc:"the user's name"`
		Device string `path:"device" doc:"the client id, percent-encoded"`
	}
	allDevicesRequest struct {
		Except string `query:"except" doc:"the client id of a device that stays"`
	}
	userDevicesRequest struct {
		User   string `path:"user" doc:"the user's name"`
		Except string `query:"except" doc:"the client id of a device that stays"`
	}
	pushRequest struct {
		Device string `path:"device" doc:"the client id, percent-encoded"`
		Body   struct {
			Provider string `json:"provider" doc:"fcm, apns or whatever wakes the device"`
			Token    string `json:"token" doc:"what the provider knows the device by; empty: it is forgotten"`
		}
	}
)

func (a *API) registerPresence(h huma.API) {
	c := a.cfg.Calls
	read := func(op, path, summary string, tag string) huma.Operation {
		return huma.Operation{
			OperationID: op, Method: http.MethodGet, Path: path, Tags: []string{tag}, Summary: summary, Security: byToken,
			Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
		}
	}
	huma.Register(h, read("presence.get", "/users/{user}/presence", "Whether a user is online", "presence"),
		func(ctx context.Context, in *ofUserRequest) (*answer[calls.PresenceOf], error) {
			return answered(c.UserPresence(ctx, identityOf(ctx), in.User))
		})
	huma.Register(h, read("presence.room", "/rooms/{room}/presence", "Who is in a room you may read", "presence"),
		func(ctx context.Context, in *roomRequest) (*answer[calls.RoomPresence], error) {
			return answered(c.RoomPresence(ctx, identityOf(ctx), in.Room))
		})
	huma.Register(h, read("devices.list", "/me/devices", "Your devices", "devices"),
		func(ctx context.Context, _ *struct{}) (*answer[calls.DeviceList], error) {
			return answered(c.Devices(ctx, identityOf(ctx), calls.DevicesInput{}))
		})
	huma.Register(h, read("devices.listOf", "/users/{user}/devices", "The devices of a user, for admins and services", "devices"),
		func(ctx context.Context, in *ofUserRequest) (*answer[calls.DeviceList], error) {
			return answered(c.Devices(ctx, identityOf(ctx), calls.DevicesInput{User: in.User}))
		})
	a.registerKicks(h)
}

func (a *API) registerKicks(h huma.API) {
	c := a.cfg.Calls
	end := func(op, path, summary string) huma.Operation {
		return huma.Operation{
			OperationID: op, Method: http.MethodDelete, Path: path, Tags: []string{"devices"}, Summary: summary, Security: byToken,
			Middlewares: huma.Middlewares{a.spendOne}, Errors: errorsOf(http.StatusForbidden, http.StatusNotFound),
			Description: "Its connection is closed on whatever node, its stored session ends, and its push tokens are forgotten. " +
				"Nodes that could not be asked are named in missing.",
		}
	}
	huma.Register(h, end("devices.kick", "/me/devices/{device}", "End a device of yours"),
		func(ctx context.Context, in *deviceRequest) (*answer[calls.Kicked], error) {
			return answered(c.KickDevices(ctx, identityOf(ctx), calls.KickInput{Device: in.Device}))
		})
	huma.Register(h, end("devices.kickAll", "/me/devices", "End your devices"),
		func(ctx context.Context, in *allDevicesRequest) (*answer[calls.Kicked], error) {
			return answered(c.KickDevices(ctx, identityOf(ctx), calls.KickInput{All: true, Except: in.Except}))
		})
	huma.Register(h, end("devices.kickOf", "/users/{user}/devices/{device}", "End a device of a user, as an admin or service"),
		func(ctx context.Context, in *userDeviceRequest) (*answer[calls.Kicked], error) {
			return answered(c.KickDevices(ctx, identityOf(ctx), calls.KickInput{User: in.User, Device: in.Device}))
		})
	huma.Register(h, end("devices.kickAllOf", "/users/{user}/devices", "End the devices of a user, as an admin or service"),
		func(ctx context.Context, in *userDevicesRequest) (*answer[calls.Kicked], error) {
			return answered(c.KickDevices(ctx, identityOf(ctx), calls.KickInput{User: in.User, All: true, Except: in.Except}))
		})
	huma.Register(h, huma.Operation{
		OperationID: "devices.push", Method: http.MethodPut, Path: "/me/devices/{device}/push", Tags: []string{"devices"},
		Summary: "Say where a device of yours can be woken", Security: byToken, Middlewares: huma.Middlewares{a.spendOne},
		MaxBodyBytes: maxSmallBody, Errors: bodyErrors(http.StatusForbidden),
	}, func(ctx context.Context, in *pushRequest) (*answer[calls.PushSet], error) {
		return answered(c.SetPush(ctx, identityOf(ctx), calls.PushInput{
			Device: in.Device, Provider: in.Body.Provider, Token: in.Body.Token,
		}))
	})
}
