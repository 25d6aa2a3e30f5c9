package bench

import (
	"strings"
	"testing"
	"time"
)

// absence is 3 sessions that miss 10 messages, while 2 readers stay.
func absence(at Target) *Offline {
	return &Offline{
		Target: at, Sessions: 3, Messages: 10, InFlight: 2, Size: stampLen, SendTopic: "t", ReadTopic: "t",
		Live: 2, LiveRate: 1000, LiveTime: 20 * time.Millisecond,
	}
}

// What sessions and those who stay do not get, get late or twice is counted, and holds nothing up.
func TestFaultsOfOffline(t *testing.T) {
	session := func(id string) bool { return id < "c-3" }
	for _, tt := range []struct {
		name    string
		deliver func(to string, n int) []delivery
		want    string
		lossy   bool
	}{
		{name: "none", want: flawless},
		{
			name: "one message for sessions is lost", lossy: true,
			deliver: func(to string, n int) []delivery { return unless(session(to) && n == 4, delivery{n: n}) },
			want:    "lost 3, late 0, repeated 0, refused 0, disconnected 0",
		},
		{
			name: "nothing is kept for sessions", lossy: true,
			deliver: func(to string, n int) []delivery { return unless(session(to) && n <= 10, delivery{n: n}) },
			want:    "lost 30, late 0, repeated 0, refused 0, disconnected 0",
		},
		{
			name: "one message for those who stay is lost", lossy: true,
			deliver: func(to string, n int) []delivery { return unless(!session(to) && n == 4, delivery{n: n}) },
			want:    "lost 2, late 0, repeated 0, refused 0, disconnected 0",
		},
		{
			name: "two are swapped, one comes twice",
			deliver: func(_ string, n int) []delivery {
				return append(unless(n == 4, delivery{n: n}), unless(n != 5, delivery{n: 4}, delivery{n: 1, dup: true})...)
			},
			want: "lost 0, late 5, repeated 5, refused 0, disconnected 0",
		},
		{
			name: "what nobody published",
			deliver: func(_ string, n int) []delivery {
				forged := (&stamper{mark: []byte("m#000000")}).append(nil, stamp{n: 1}, stampLen)
				return []delivery{{raw: appendPublish(nil, 4, "t", forged, 0, 0, false)}, {raw: appendAck(nil, typePuback, 1)}, {n: n}}
			},
			want: flawless,
		},
	} {
		for version := byte(4); version <= version5; version++ {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				f := &fake{deliver: tt.deliver}
				f.start(t)
				at := f.target(version)
				if tt.lossy {
					at = f.lossy(version)
				}
				r := check(t, absence(at))
				if got := faults(r); got != tt.want || r.Connections != 6 || r.SessionsPresent != 3 || r.Published != 10 || r.Seconds <= 0 {
					t.Errorf("%s, want %s; %+v", got, tt.want, r)
				}
				f.stop()
				if len(f.sessions) > 0 {
					t.Errorf("sessions %v are left", f.sessions)
				}
			})
		}
	}
}

// A run that cannot go on says why at once, and leaves no session.
func TestOfflineFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    *fake
		want string
	}{
		{
			"a message is refused",
			&fake{ack: func(n int, id uint16) [][]byte {
				code := byte(0)
				if n == 4 {
					code = 0x97
				}
				return [][]byte{{typePuback << 4, 3, byte(id >> 8), byte(id), code}}
			}},
			"3 of 10 messages are acknowledged: a message was refused: quota exceeded, ",
		},
		{
			"the publisher is sent away",
			&fake{ack: func(int, uint16) [][]byte { return [][]byte{{typeDisconnect << 4, 1, 0x98}} }},
			"0 of 10 messages are acknowledged: the broker sent DISCONNECT: administrative action (0x98)",
		},
		{
			"one who stays is sent away",
			&fake{deliver: func(to string, n int) []delivery {
				if to == "c-3" && n == 15 {
					return []delivery{{raw: []byte{typeDisconnect << 4, 1, 0x98}}}
				}
				return []delivery{{n: n}}
			}},
			"the broker sent DISCONNECT: administrative action (0x98)",
		},
		{
			"one who comes back is sent away",
			&fake{deliver: func(to string, n int) []delivery {
				if to == "c-1" && n == 5 {
					return []delivery{{raw: []byte{typeDisconnect << 4, 1, 0x98}}}
				}
				return []delivery{{n: n}}
			}},
			"sessions come back: ",
		},
		{
			"SUBSCRIBE is refused",
			&fake{suback: func(id uint16) []byte { return []byte{typeSuback << 4, 4, byte(id >> 8), byte(id), 0, 0x87} }},
			"refused: not authorized",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := tt.f
			f.start(t)
			r, err := absence(f.target(version5)).Run(t.Context())
			if r != nil || err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, %v; want %s", r, err, tt.want)
			}
			f.stop()
			if len(f.sessions) > 0 {
				t.Errorf("sessions %v are left", f.sessions)
			}
		})
	}
}

// Sessions that could not be removed are named, beside the report of what was measured.
func TestSessionsAreLeft(t *testing.T) {
	connects := 0
	f := &fake{connack: func(string) []byte {
		if connects++; connects > 3+2+1+3 {
			return []byte{typeConnack << 4, 2, 0, 3}
		}
		return []byte{typeConnack << 4, 2, 0, 0}
	}}
	f.start(t)
	r, err := absence(f.target(4)).Run(t.Context())
	const want = "remove the sessions c-0 to c-2: "
	if r == nil || *r.Lost != 0 || err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "server unavailable (0x03)") {
		t.Errorf("%+v, %v", r, err)
	}
}
