package storage

import (
	"fmt"
	"testing"
)

// When a user was active last goes forward only, and never beyond log time.
func TestLastActive(t *testing.T) {
	l := newTestLog(t)
	at := func() int64 {
		t.Helper()
		v, err := l.s.LastActive("chat", "ann")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	tell := func(ms int64) {
		l.done(&Active{Users: []ActiveAt{{NS: "chat", User: "ann", At: ms}, {NS: "chat", User: "bob", At: ms}}})
	}
	if got := at(); got != 0 {
		t.Errorf("of nobody: %d", got)
	}
	tell(500)
	tell(400)
	if got := at(); got != 500 {
		t.Errorf("it is %d", got)
	}
	tell(1 << 60)
	if _, now := l.s.Applied(); at() != now {
		t.Errorf("it is %d at %d", at(), now)
	}
}

// A device has one token of each provider, and few of them; a user has few devices. They go with the device's session.
func TestPush(t *testing.T) {
	l := newTestLog(t)
	id := func(device string) SessionID { return SessionID{NS: "chat", User: "ann", Client: device} }
	set := func(device, provider, token string) {
		l.done(&SetPush{Session: id(device), Provider: provider, Token: token})
	}
	has := func() map[string]string {
		t.Helper()
		all, err := l.s.Pushes("chat", "ann")
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, d := range all {
			for _, p := range d.Tokens {
				out[d.Device] += p.Provider + "=" + p.Token + " "
			}
		}
		return out
	}
	set("phone", "fcm", "1")
	set("phone", "fcm", "2")
	set("phone", "apns", "3")
	if got := has()["phone"]; got != "fcm=2 apns=3 " {
		t.Errorf("phone: %s", got)
	}
	for i := range PushPerDevice {
		set("phone", fmt.Sprint("p", i), "x")
	}
	if got := has()["phone"]; got != "p0=x p1=x p2=x p3=x " {
		t.Errorf("phone: %s", got)
	}
	set("phone", "p0", "")
	if got := has()["phone"]; got != "p1=x p2=x p3=x " {
		t.Errorf("phone: %s", got)
	}

	l.done(&Take{Session: id("phone"), Node: "n1", Boot: 1, Expiry: 60})
	for i := range PushDevices {
		set(fmt.Sprint("d", i), "fcm", "x")
	}
	got := has()
	if _, gone := got["d0"]; len(got) != PushDevices || gone || got["phone"] == "" {
		t.Errorf("%d devices: %v", len(got), got)
	}
	r := l.done(&Take{Session: id("phone"), Node: "n1", Boot: 1, Expiry: 60})
	expiry := uint32(0)
	l.done(&Release{Session: id("phone"), Epoch: r.Epoch, Expiry: &expiry}) // the device says that it is no more
	if got := has(); got["phone"] != "" {
		t.Errorf("the session ended: %v", got)
	}
	l.done(&Take{Session: id("d5"), Node: "n1", Boot: 1, Expiry: 60})
	if r := l.done(&EndDevice{Session: id("d5")}); !r.Present {
		t.Error("there was a device")
	}
	if s, err := l.s.Session(id("d5")); s != nil || err != nil || has()["d5"] != "" {
		t.Errorf("what is left of an ended device: %v, %v, %v", s, err, has()["d5"])
	}
	if r := l.done(&EndDevice{Session: id("d5")}); r.Present {
		t.Error("it is there no more")
	}
	l.done(&Take{Session: id("x"), Node: "n1", Boot: 1, Expiry: 60})
	l.done(&Take{Session: SessionID{NS: "chat", User: "anna", Client: "x"}, Node: "n1", Boot: 1, Expiry: 60})
	all, err := l.s.SessionsOf("chat", "ann", 100)
	if err != nil || len(all) != 1 || all[0].ID != id("x") {
		t.Errorf("sessions: %v, %v", all, err)
	}
}
