package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/certtest"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// node is a whole node, and the ways to it.
type node struct {
	*testcluster.Node
	authority *certtest.Authority
}

func startNode(t *testing.T) *node {
	t.Helper()
	ca := certtest.New(t)
	cert, key := ca.Issue(t, filepath.Join(t.TempDir(), "node.pem"), x509.ExtKeyUsageServerAuth)
	return &node{testcluster.Start(t, testcluster.Options{Set: []string{
		"listeners.mqtts.bind=127.0.0.1:0", "listeners.mqtts.cert_file=" + cert, "listeners.mqtts.key_file=" + key,
	}}), ca}
}

var ways = []string{"tcp", "ws", "tls"}

// target is how a scenario gets there. Client ids and rooms are the test's own.
func (n *node) target(t *testing.T, way string, version byte) Target {
	t.Helper()
	at := netip.MustParseAddrPort(n.Addr("mqtt"))
	o := Target{
		Name: way, Host: at.Addr().String(), Port: at.Port(), Version: version, User: "bench", Password: "x", KeepAlive: 60,
		Prefix: "bench-", PIDs: []int{os.Getpid()},
	}
	switch way {
	case "ws":
		o.Dial = func(context.Context) (net.Conn, error) {
			return mqtttest.Open(n.At(), mqtttest.Flavour{Version: version, Web: true})
		}
	case "tls":
		o.Dial = func(ctx context.Context) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{RootCAs: n.authority.Pool}}).DialContext(ctx, "tcp", n.Addr("mqtts"))
		}
	}
	return o
}

// flawless is what faults says of a run in which nothing went wrong.
const flawless = "lost 0, late 0, repeated 0, refused 0, disconnected 0"

// What is published in a room comes to each of its readers, once and in order, however they connect.
func TestRoom(t *testing.T) {
	n := startNode(t)
	for _, way := range ways {
		for version := byte(4); version <= version5; version++ {
			for qos := range byte(3) {
				name := fmt.Sprintf("%s-v%d-q%d", way, version, qos)
				t.Run(name, func(t *testing.T) {
					r := check(t, &Rooms{
						Target: n.target(t, way, version), Rooms: 1, Readers: 3, Publishers: 2, QoS: qos, InFlight: 4, Size: 128,
						SendTopic: "chat/rooms/" + name + "/send", ReadTopic: "chat/rooms/" + name + "/msg/+", Duration: forever, Limit: 60,
					})
					if got := faults(r); got != flawless || r.Connections != 5 || r.Published != 60 || r.Delivered != 180 ||
						r.Acked != 60*uint64(min(qos, 1)) {
						t.Errorf("%s; %+v", got, r)
					}
					if r.Latency == nil || (r.AckLatency == nil) != (qos == 0) || r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.Max {
						t.Errorf("latencies %v, %v", r.Latency, r.AckLatency)
					}
					if r.Seconds <= 0 || r.RSS <= 0 || r.RSSBefore <= 0 || r.CPUSeconds < 0 || r.ConnectsPerSecond <= 0 || r.DeliveriesPerSecond <= 0 {
						t.Errorf("%+v", r)
					}
				})
			}
		}
	}
}

// With a rate messages go round the rooms, and readers who never read hold nobody up.
func TestRoomsWithRate(t *testing.T) {
	n := startNode(t)
	for qos := range byte(2) {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			o := &Rooms{
				Target: n.target(t, "tcp", 4), Rooms: 4, Readers: 2, Stuck: 1, Publishers: 3, QoS: qos, Rate: 500, Size: 200,
				SendTopic: "chat/rooms/rate-%r/send", ReadTopic: "chat/rooms/rate-%r/msg/+", ConnRate: 500,
				Warmup: 100 * time.Millisecond, Duration: 300 * time.Millisecond,
			}
			r := check(t, o)
			if got := faults(r); got != flawless || r.Connections != 15 || r.Published == 0 || r.Delivered == 0 {
				t.Errorf("%s; %+v", got, r)
			}
		})
	}
	t.Run("stuck on a stream", func(t *testing.T) {
		r := check(t, &Rooms{
			Target: n.target(t, "ws", 5), Rooms: 1, Readers: 1, Stuck: 2, Publishers: 1, QoS: 1, InFlight: 8, Size: 1000,
			SendTopic: "chat/rooms/stuck/send", ReadTopic: "chat/rooms/stuck/msg/+", Duration: forever, Limit: 300,
		})
		if got := faults(r); got != flawless || r.Delivered != 300 {
			t.Errorf("%s; %+v", got, r)
		}
	})
}

// Each publish is acknowledged once at QoS 1 and 2, and with an interval too.
func TestPublish(t *testing.T) {
	n := startNode(t)
	for qos := range byte(3) {
		for _, interval := range []time.Duration{0, time.Millisecond} {
			t.Run(fmt.Sprintf("QoS %d every %v", qos, interval), func(t *testing.T) {
				r := check(t, &Publish{
					Target: n.target(t, ways[qos], 4), Publishers: 3, InFlight: 5, QoS: qos, Interval: interval, Size: 100,
					Topic: "chat/rooms/%c/send", Duration: forever, Limit: 100,
				})
				want := uint64(100)
				if qos == 0 {
					want = 0
				}
				if r.Published != 100 || r.Acked != want || r.Refused != 0 || r.Disconnected != 0 || r.Connections != 3 {
					t.Errorf("%+v", r)
				}
				if (r.Lost == nil) != (qos == 0) || r.Lost != nil && *r.Lost != 0 || (r.AckLatency == nil) != (qos == 0) {
					t.Errorf("lost %v, latency %v", r.Lost, r.AckLatency)
				}
			})
		}
	}
}

// What others publish is counted by who listens.
func TestListen(t *testing.T) {
	n := startNode(t)
	for i, way := range ways {
		t.Run(way, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var others sync.WaitGroup
			defer others.Wait()
			defer cancel()
			room := "chat/rooms/listen-" + way
			others.Go(func() {
				at := n.target(t, way, 4)
				at.Prefix = "other-"
				_, err := (&Publish{
					Target: at, Publishers: 1, InFlight: 2, QoS: 1, Size: 10, Topic: room + "/send", Duration: forever,
				}).Run(ctx)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the publisher: %v", err)
				}
			})
			r := check(t, &Listen{
				Target: n.target(t, way, 5), Subscribers: 3, Filter: room + "/msg/#", QoS: byte(i), Clean: true, Duration: forever, Limit: 100,
			})
			if got := faults(r); got != "lost -1, late -1, repeated 0, refused 0, disconnected 0" || r.Connections != 3 || r.Scenario != "sub" {
				t.Errorf("%s; %+v", got, r)
			}
			if r.Delivered == 0 || r.DeliveriesPerSecond <= 0 || r.RSS <= 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Connections that do nothing are counted, with a session or a subscription or without.
func TestIdle(t *testing.T) {
	n := startNode(t)
	for _, way := range ways {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s clean %v", way, clean), func(t *testing.T) {
				r := check(t, &Idle{
					Target: n.target(t, way, 5), Connections: 70, Filter: "chat/rooms/idle-%i/msg/#", QoS: 1, Clean: clean,
					Hold: time.Millisecond,
				})
				if r.Connections != 70 || r.Disconnected != 0 || r.ConnectsPerSecond <= 0 || r.RSS <= 0 || r.Scenario != "conn" || r.Target != way {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// Sessions get what they missed, once and in order, while others get what is live; then the broker knows them no more.
func TestOffline(t *testing.T) {
	n := startNode(t)
	for _, way := range ways {
		for version := byte(4); version <= version5; version++ {
			t.Run(fmt.Sprintf("%s-v%d", way, version), func(t *testing.T) {
				o := &Offline{
					Target: n.target(t, way, version), Sessions: 5, Messages: 100, InFlight: 10, Size: 100,
					SendTopic: fmt.Sprintf("chat/rooms/offline-%s-%d/send", way, version),
					ReadTopic: fmt.Sprintf("chat/rooms/offline-%s-%d/msg/+", way, version),
					Live:      2, LiveRate: 500, LiveTime: 50 * time.Millisecond,
				}
				for range 2 { // the second time nothing of the first is there
					r := check(t, o)
					if got := faults(r); got != flawless || r.Connections != 5+2+1 || r.SessionsPresent != 5 {
						t.Errorf("%s; %+v", got, r)
					}
					if r.Published != 100 || r.Acked != 100 || r.Delivered < 500 || r.DrainSeconds <= 0 || r.LiveBefore == nil && r.LiveDuring == nil {
						t.Errorf("%+v", r)
					}
				}
				c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavour{Version: version}, User: "bench", ClientID: "bench-0", Keep: true})
				if c.Connack.SessionPresent {
					t.Error("the session is still there")
				}
				c.Disconnect()
			})
		}
	}
	t.Run("nobody stays", func(t *testing.T) {
		r := check(t, &Offline{
			Target: n.target(t, "tcp", 4), Sessions: 3, Messages: 20, InFlight: 1, Size: stampLen,
			SendTopic: "chat/rooms/nobody/send", ReadTopic: "chat/rooms/nobody/msg/+", ConnRate: 100,
		})
		if got := faults(r); got != flawless || r.Connections != 4 || r.Delivered != 60 || r.LiveBefore != nil || r.LiveDuring != nil {
			t.Errorf("%s; %+v", got, r)
		}
	})
}
