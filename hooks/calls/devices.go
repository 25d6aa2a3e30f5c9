package calls

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Bounds of devices.
const (
	maxDevices  = 1000 // listed
	maxProvider = 32   // characters
	maxPush     = 1024 // bytes of a token
)

// Connected is one connection.
type Connected struct {
	Device     string `json:"device"` // client id
	Node       string `json:"node"`
	Protocol   string `json:"protocol"`  // mqtt 3.1.1, mqtt 5
	Transport  string `json:"transport"` // tcp, tls, ws, wss
	Address    string `json:"address"`
	Since      int64  `json:"since"`       // ms since the epoch
	LastActive int64  `json:"last_active"` // ms since the epoch
}

// PushToken is where a device can be woken. The token is shown to its user alone.
type PushToken struct {
	Provider string `json:"provider"`
	Token    string `json:"token,omitempty"`
	SetAt    int64  `json:"set_at"` // ms since the epoch
}

// Device is a device of a user: a connection, a stored session, or both, or only somewhere to be woken.
type Device struct {
	Device     string      `json:"device"` // client id
	Connected  bool        `json:"connected"`
	Node       string      `json:"node,omitempty"`
	Protocol   string      `json:"protocol,omitempty"`
	Transport  string      `json:"transport,omitempty"`
	Address    string      `json:"address,omitempty"`
	Since      int64       `json:"since,omitempty"`       // ms since the epoch, of the connection
	LastActive int64       `json:"last_active,omitempty"` // ms since the epoch; without a connection, when it ended
	Stored     bool        `json:"stored"`                // it has a session that outlives its connection
	Push       []PushToken `json:"push,omitempty"`
}

// DevicesInput are the params of devices.list.
type DevicesInput struct {
	User string `json:"user,omitempty"` // of somebody else, for admins and services
}

// DeviceList are the devices of a user.
type DeviceList struct {
	User    string   `json:"user"`
	Devices []Device `json:"devices"`
	Missing []string `json:"missing,omitempty"` // nodes that did not say whom they have
	More    bool     `json:"more,omitempty"`    // there are more than are listed
}

// KickInput are the params of devices.kick: a device, or all, but for one if need be.
type KickInput struct {
	User   string `json:"user,omitempty"`
	Device string `json:"device,omitempty"`
	All    bool   `json:"all,omitempty"`
	Except string `json:"except,omitempty"` // with all: the device that stays
}

// Kicked is the result of devices.kick.
type Kicked struct {
	User    string   `json:"user"`
	Devices []string `json:"devices"`           // that were there
	Missing []string `json:"missing,omitempty"` // nodes that could not be asked: a connection without a stored session may live on there
}

// PushInput are the params of devices.push: the token of a provider, or an empty one to remove it.
type PushInput struct {
	Device   string `json:"device"`
	Provider string `json:"provider"`
	Token    string `json:"token"`
}

// PushSet is the result of devices.push.
type PushSet struct {
	Device   string `json:"device"`
	Provider string `json:"provider"`
	Set      bool   `json:"set"`
}

// whose returns the user whose devices the call is about.
func (c *Calls) whose(id auth.Identity, user string) (string, error) {
	if err := noGuest(id, "have devices"); err != nil {
		return "", err
	}
	switch {
	case user == "" || user == id.User:
		return id.User, nil
	case !topic.ValidUser(user):
		return "", badUser(user)
	case !id.Admin: // as service keys with the scope users are
		return "", problem.New(problem.Forbidden, "The devices of others are for admins and services; leave user out for your own.")
	}
	return user, nil
}

// Devices lists the devices of a user, in byte order: what the nodes have, what is stored, and where one can be woken.
func (c *Calls) Devices(ctx context.Context, id auth.Identity, in DevicesInput) (DeviceList, error) {
	user, err := c.whose(id, in.User)
	if err != nil {
		return DeviceList{}, err
	}
	all, missing, err := c.devicesOf(ctx, id.Namespace, user, user == id.User)
	if err != nil {
		return DeviceList{}, c.broken(err)
	}
	out := DeviceList{User: user, Devices: make([]Device, 0, len(all)), Missing: missing}
	size := 0
	for _, d := range all {
		size += deviceBytes(d)
		if len(out.Devices) == maxDevices || size > maxResult-pageAround {
			out.More = true
			break
		}
		out.Devices = append(out.Devices, *d)
	}
	return out, nil
}

// deviceBytes is more than a device takes as JSON, in which a byte of an id takes six at most.
func deviceBytes(d *Device) int {
	n := 320 + 6*len(d.Device) + len(d.Node)
	for _, p := range d.Push {
		n += 64 + 6*(len(p.Provider)+len(p.Token))
	}
	return n
}

func (c *Calls) devicesOf(ctx context.Context, ns, user string, own bool) (out []*Device, missing []string, err error) {
	byID := map[string]*Device{}
	of := func(id string) *Device {
		if byID[id] == nil {
			byID[id] = &Device{Device: id}
			out = append(out, byID[id])
		}
		return byID[id]
	}
	connected, missing := c.cfg.Online.Connected(ctx, ns, user)
	for _, x := range connected {
		d := of(x.Device)
		if d.Connected && d.Since > x.Since {
			continue // it is being taken over
		}
		*d = Device{
			Device: x.Device, Connected: true, Node: x.Node, Protocol: x.Protocol, Transport: x.Transport, Address: x.Address,
			Since: x.Since, LastActive: x.LastActive,
		}
	}
	sessions, err := c.cfg.Store.SessionsOf(ns, user, maxDevices)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range sessions {
		d := of(s.ID.Client)
		d.Stored = true
		if !d.Connected {
			d.LastActive = s.EndedAt
			if s.Connected { // on a node that did not say so
				d.Connected, d.Node = slices.Contains(missing, s.Node), s.Node
			}
		}
	}
	pushes, err := c.cfg.Store.Pushes(ns, user)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range pushes {
		d := of(p.Device)
		for _, t := range p.Tokens {
			push := PushToken{Provider: t.Provider, SetAt: t.At}
			if own {
				push.Token = t.Token
			}
			d.Push = append(d.Push, push)
		}
	}
	slices.SortFunc(out, func(a, b *Device) int { return cmp.Compare(a.Device, b.Device) })
	return out, missing, nil
}

// KickDevices ends devices, on all nodes: their connections, their stored sessions, and where they are woken. A device that logs in
// again is a new one.
func (c *Calls) KickDevices(ctx context.Context, id auth.Identity, in KickInput) (Kicked, error) {
	user, err := c.whose(id, in.User)
	if err != nil {
		return Kicked{}, err
	}
	if (in.Device == "") == !in.All || !topic.ValidClientID(in.Device) || in.Except != "" && !in.All {
		return Kicked{}, problem.New(problem.BadPayload, `devices.kick takes {"device"}, {"all":true}, or {"all":true,"except"}.`)
	}
	all, missing, err := c.devicesOf(ctx, id.Namespace, user, false)
	if err != nil {
		return Kicked{}, c.broken(err)
	}
	out := Kicked{User: user, Devices: []string{}}
	for _, d := range all {
		if d.Device == in.Device || in.All && d.Device != in.Except {
			out.Devices = append(out.Devices, d.Device)
		}
	}
	if !in.All && len(out.Devices) == 0 && len(missing) == 0 {
		return Kicked{}, problem.New(problem.NotFound, "%q has no device %.128q.", user, in.Device)
	}
	closing := c.cfg.Online.Disconnect(ctx, id.Namespace, user, in.Device, in.Except)
	var waits []func() (storage.Result, error)
	for _, device := range out.Devices {
		session := storage.SessionID{NS: id.Namespace, User: user, Client: device}
		waits = append(waits, c.propose(ctx, &storage.EndDevice{Session: session}))
	}
	for _, wait := range waits {
		if _, err := wait(); err != nil {
			return Kicked{}, err
		}
	}
	missing = append(missing, closing...)
	slices.Sort(missing)
	out.Missing = slices.Compact(missing)
	return out, nil
}

// SetPush sets, or with an empty token removes, where a device of the caller is woken. The device need not be known yet.
func (c *Calls) SetPush(ctx context.Context, id auth.Identity, in PushInput) (PushSet, error) {
	if err := noGuest(id, "have devices"); err != nil {
		return PushSet{}, err
	}
	switch {
	case in.Device == "" || !topic.ValidClientID(in.Device):
		return PushSet{}, problem.New(problem.BadPayload, "device is a client id: UTF-8 of at most %d bytes.", topic.MaxClientID)
	case !topic.ValidType(in.Provider) || len(in.Provider) > maxProvider:
		return PushSet{}, problem.New(problem.BadPayload, "provider is a name such as fcm or apns, of at most %d characters.", maxProvider)
	case len(in.Token) > maxPush || strings.IndexByte(in.Token, 0) >= 0:
		return PushSet{}, problem.New(problem.BadPayload, "token is a text of at most %d bytes.", maxPush)
	}
	_, err := c.write(ctx, &storage.SetPush{
		Session: storage.SessionID{NS: id.Namespace, User: id.User, Client: in.Device}, Provider: in.Provider, Token: in.Token,
	})
	if err != nil {
		return PushSet{}, err
	}
	return PushSet{Device: in.Device, Provider: in.Provider, Set: in.Token != ""}, nil
}
