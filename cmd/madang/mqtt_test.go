package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/gorilla/websocket"
)

// fakeBroker speaks enough MQTT v5 to answer pub and sub: it refuses user "mallory", topics that contain "closed", and
// sends three messages to every subscription; a topic with "bye" makes it disconnect.
type fakeBroker struct {
	url string
	ln  net.Listener

	mu    sync.Mutex
	seen  []string       // what clients did
	conns sync.WaitGroup // the accepting loop and every connection
}

func newFakeBroker(t *testing.T) *fakeBroker {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBroker{url: "mqtt://" + ln.Addr().String(), ln: ln}
	b.conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.conns.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(b.stop)
	return b
}

// stop may be called more than once; clients must have ended.
func (b *fakeBroker) stop() {
	b.ln.Close()
	b.conns.Wait()
}

func (b *fakeBroker) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = append(b.seen, fmt.Sprintf(format, args...))
}

func (b *fakeBroker) log() string {
	b.stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.seen, "\n")
}

func (b *fakeBroker) serve(conn io.ReadWriteCloser) {
	defer conn.Close()
	for {
		cp, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		var answer []packets.Packet
		switch p := cp.Content.(type) {
		case *packets.Connect:
			b.note("connect %s %s %s", p.ClientID, p.Username, p.Password)
			ack := &packets.Connack{Properties: &packets.Properties{}}
			if p.Username == "mallory" {
				ack.ReasonCode, ack.Properties.ReasonString = packets.ConnackBadUsernameOrPassword, "not you"
			}
			answer = append(answer, ack)
		case *packets.Publish:
			b.note("publish %s %s q%d %v", p.Topic, p.Payload, p.QoS, p.Properties.User)
			switch {
			case strings.Contains(p.Topic, "bye"):
				code := byte(packets.DisconnectServerShuttingDown)
				answer = append(answer, &packets.Disconnect{ReasonCode: code, Properties: &packets.Properties{ReasonString: "see you"}})
			case p.QoS == 1 && strings.Contains(p.Topic, "closed"):
				answer = append(answer, &packets.Puback{
					PacketID: p.PacketID, ReasonCode: packets.PubackNotAuthorized,
					Properties: &packets.Properties{ReasonString: "The room is frozen. (room_frozen)"},
				})
			case p.QoS == 1:
				seq := packets.User{Key: "seq", Value: "42"}
				answer = append(answer, &packets.Puback{
					PacketID: p.PacketID, Properties: &packets.Properties{User: []packets.User{seq}},
				})
			}
		case *packets.Subscribe:
			b.note("subscribe %s q%d", p.Subscriptions[0].Topic, p.Subscriptions[0].QoS)
			ack := &packets.Suback{PacketID: p.PacketID, Properties: &packets.Properties{}, Reasons: make([]byte, len(p.Subscriptions))}
			if strings.Contains(p.Subscriptions[0].Topic, "closed") {
				ack.Reasons[0], ack.Properties.ReasonString = packets.SubackNotauthorized, "members only"
				answer = append(answer, ack)
				break
			}
			answer = append(answer, ack)
			for i := range 3 {
				answer = append(answer, &packets.Publish{
					Topic: "a/b", Payload: fmt.Appendf(nil, "message %d", i), Properties: &packets.Properties{},
				})
			}
			if strings.Contains(p.Subscriptions[0].Topic, "bye") {
				answer = append(answer, &packets.Disconnect{ReasonCode: packets.DisconnectSessionTakenOver, Properties: &packets.Properties{}})
			}
		case *packets.Disconnect:
			b.note("disconnect")
			return
		}
		for _, p := range answer {
			if _, err := p.WriteTo(conn); err != nil {
				return
			}
		}
	}
}

func TestPub(t *testing.T) {
	for _, tt := range []struct {
		name, stdin string
		args        []string
		code        int
		out, err    string
		seen        string
	}{
		{
			name: "one", args: []string{"-t", "x", "-m", "hello", "-u", "alice", "-P", "pw", "-i", "dev"},
			seen: "connect dev alice pw\npublish x hello q1 []\ndisconnect",
		},
		{
			name: "one with cid", args: []string{"-t", "x", "-m", "", "--cid", "c1", "-v"}, out: "42\n",
			seen: "connect   \npublish x  q1 [{cid c1}]\ndisconnect",
		},
		{
			name: "lines", args: []string{"-t", "x", "-l", "-v"}, stdin: "a\n\nb", out: "42\n42\n42\n",
			seen: "connect   \npublish x a q1 []\npublish x  q1 []\npublish x b q1 []\ndisconnect",
		},
		{
			name: "QoS 0", args: []string{"-t", "closed", "-m", "x", "-q", "0"},
			seen: "connect   \npublish closed x q0 []\ndisconnect",
		},
		{
			name: "refused", args: []string{"-t", "closed", "-l"}, stdin: "a\nb\n", code: exitFailure,
			err:  "madang: line 1: refused: The room is frozen. (room_frozen) (0x87)\n",
			seen: "connect   \npublish closed a q1 []\ndisconnect",
		},
		{
			name: "disconnected", args: []string{"-t", "bye", "-m", "a"}, code: exitFailure,
			err:  "madang: disconnected by the broker: see you (0x8B)\n",
			seen: "connect   \npublish bye a q1 []",
		},
		{
			name: "login refused", args: []string{"-t", "x", "-m", "a", "-u", "mallory"}, code: exitFailure,
			err:  "madang: login refused: not you (0x86)\n",
			seen: "connect  mallory ",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFakeBroker(t)
			code, out, errOut := call(t, tt.stdin, append([]string{"pub", "--url", b.url}, tt.args...)...)
			if code != tt.code || out != tt.out || errOut != tt.err {
				t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
			}
			if got := b.log(); got != tt.seen {
				t.Errorf("the broker saw\n%s\nwant\n%s", got, tt.seen)
			}
		})
	}
}

func TestSub(t *testing.T) {
	for _, tt := range []struct {
		name     string
		args     []string
		code     int
		out, err string
	}{
		{name: "count", args: []string{"-t", "x", "-C", "2"}, out: "message 0\nmessage 1\n"},
		{name: "verbose", args: []string{"-t", "x", "-t", "y", "-C", "1", "-v", "-q", "0"}, out: "a/b message 0\n"},
		{
			name: "refused", args: []string{"-t", "closed"}, code: exitFailure,
			err: "madang: subscription to closed refused: members only (0x87)\n",
		},
		{
			name: "too few", args: []string{"-t", "x", "-C", "4", "-W", "1"}, code: exitFailure,
			out: "message 0\nmessage 1\nmessage 2\n", err: "madang: fewer than 4 messages within 1 s\n",
		},
		{name: "login refused", args: []string{"-t", "x", "-u", "mallory"}, code: exitFailure, err: "madang: login refused: not you (0x86)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFakeBroker(t)
			code, out, errOut := call(t, "", append([]string{"sub", "--url", b.url}, tt.args...)...)
			if code != tt.code || out != tt.out || errOut != tt.err {
				t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
			}
		})
	}
}

func TestSubEndsWithTheConnection(t *testing.T) {
	b := newFakeBroker(t)
	code, _, errOut := call(t, "", "sub", "--url", b.url, "-t", "bye")
	if code != exitFailure || !strings.HasPrefix(errOut, "madang: disconnected by the broker: ") || !strings.Contains(errOut, "(0x8E)") {
		t.Errorf("code %d, stderr %q", code, errOut)
	}
}

func TestWebSocket(t *testing.T) {
	b := newFakeBroker(t)
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/mqtt" {
			http.NotFound(w, r)
			return
		}
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		b.conns.Add(1)
		defer b.conns.Done()
		b.serve(&wsConn{Conn: conn})
	}))
	defer srv.Close()
	url := "ws" + strings.TrimPrefix(srv.URL, "http")
	code, out, errOut := call(t, "", "sub", "--url", url, "-t", "x", "-C", "3")
	if code != exitOK || out != "message 0\nmessage 1\nmessage 2\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
	code, _, errOut = call(t, "", "pub", "--url", url+"/other", "-t", "x", "-m", "y")
	if code != exitFailure || !strings.Contains(errOut, "is no WebSocket: it answers 404 Not Found") {
		t.Errorf("code %d, stderr %q", code, errOut)
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	code, _, errOut := call(t, "", "pub", "--url", "mqtt://"+addr, "-t", "x", "-m", "y")
	if code != exitFailure || !strings.Contains(errOut, "connect to "+addr) || !strings.Contains(errOut, "refused") {
		t.Errorf("code %d, stderr %q", code, errOut)
	}
}

func TestPrinterStopsWhenItCannotWrite(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	b := newFakeBroker(t)
	var errOut bytes.Buffer
	code := run(t.Context(), []string{"sub", "--url", b.url, "-t", "x"}, strings.NewReader(""), w, &errOut)
	if code != exitFailure || !strings.Contains(errOut.String(), "write: ") {
		t.Errorf("code %d, stderr %q", code, errOut.String())
	}
}
