package broker_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// fullDisk is a disk whose free space a test sets.
type fullDisk struct{ free atomic.Uint64 }

func (d *fullDisk) usage(string) (free, total uint64, err error) {
	return d.free.Load(), 100 << 30, nil
}

// On a disk that is nearly full nothing is written for clients, who are told, or wait where they could not be; reads and
// sessions go on, and so does everything once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	d := new(fullDisk)
	d.free.Store(10 << 30)
	n := testcluster.Start(t, testcluster.Options{Usage: d.usage, Set: []string{"limits.disk_free=1GiB", "limits.ack_wait=1s"}})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room := roomOf(t)
			o := mqtttest.Options{Flavour: as, User: "writer", ClientID: as.String(), Keep: true}
			w := mqtttest.Dial(t, n.At(), o)
			w.Subscribe("chat/me/error")
			w.Say(room, "0")
			d.free.Store(1<<30 - 1)
			mqtttest.Eventually(t, "the node is not ready", func() bool {
				code, text := readyz(t, n)
				return code == http.StatusServiceUnavailable && strings.Contains(text, "limits.disk_free is 1024 MiB")
			})
			answer, err := w.TryPublish(mqtttest.Message(send(room), "1", 1))
			if as.Version == mqtttest.V5 {
				if err != nil || answer.ReasonCode != 0x97 || !strings.Contains(answer.Properties.ReasonString, "disk") {
					t.Errorf("%v, %#x %q", err, answer.ReasonCode, answer.Properties.ReasonString)
				}
			} else if err == nil || answer.FixedHeader.Type == packets.Puback {
				t.Errorf("a v3.1.1 client was answered: %v", answer)
			}
			if pk := w.Next(); pk.TopicName != "chat/me/error" || !strings.Contains(string(pk.Payload), `"code":"storage_full"`) {
				t.Errorf("%s %s", pk.TopicName, pk.Payload)
			}
			if code := postText(t, n, room); code != http.StatusServiceUnavailable {
				t.Errorf("a message by HTTP: %d", code)
			}
			r := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: as.String(), Keep: true})
			r.Subscribe("$last/5/" + msgs(room))
			inOrder(t, collect(t, r, room, 1, 1))
			d.free.Store(2 << 30)
			mqtttest.Eventually(t, "the node is ready", func() bool { code, _ := readyz(t, n); return code == http.StatusOK })
			if as.Version != mqtttest.V5 {
				w.Ended()
				w = mqtttest.Dial(t, n.At(), o)
			}
			pk := mqtttest.Message(send(room), "1", 1)
			pk.FixedHeader.Dup = as.Version != mqtttest.V5 // as libraries do on the new connection
			w.Publish(pk)
			if last := collect(t, r, room, 2, 1); last[0].said(t) != "1" {
				t.Errorf("after it %q", last[0].said(t))
			}
		})
	}
}

// A leader without room hands over, once, and its clients are refused until it has room, or go elsewhere.
func TestFullDiskOfTheLeader(t *testing.T) {
	var disks sync.Map // by directory
	of := func(dir string) *fullDisk {
		fresh := new(fullDisk)
		fresh.free.Store(10 << 30)
		d, _ := disks.LoadOrStore(dir, fresh)
		return d.(*fullDisk)
	}
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Set: []string{"limits.disk_free=1GiB"}, Usage: func(dir string) (uint64, uint64, error) {
		return of(dir).usage(dir)
	}})
	leader := c.Leader()
	of(leader.Dir()).free.Store(1)
	mqtttest.Eventually(t, "another node leads", func() bool { return !leader.App.Node().IsLeader() })
	room := roomOf(t)
	w := mqtttest.Dial(t, c.Leader().At(), mqtttest.Options{User: "w", ClientID: "w"})
	for i := range 20 {
		w.Say(room, fmt.Sprint(i))
	}
	c.SameDigest(storage.RoomKey{NS: "chat", Room: room}, 20)
	of(leader.Dir()).free.Store(2 << 30)
	mqtttest.Eventually(t, "it is ready", func() bool { code, _ := readyz(t, leader); return code == http.StatusOK })
	mqtttest.Dial(t, leader.At(), mqtttest.Options{User: "x", ClientID: "x"}).Say(room, "0")
}

// postText sends a message by HTTP and returns the status.
func postText(t *testing.T, n *testcluster.Node, room string) int {
	t.Helper()
	base := "http://" + n.At().Web + "/api/v1"
	resp, err := http.Post(base+"/auth/login", "application/json", strings.NewReader(`{"user":"poster","password":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	token := regexp.MustCompile(`"token":"([^"]*)"`).FindSubmatch(text)
	if err != nil || token == nil {
		t.Fatalf("login: %v %s", err, text)
	}
	req, err := http.NewRequest(http.MethodPost, base+"/rooms/"+room+"/messages", strings.NewReader("by http"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+string(token[1]))
	req.Header.Set("Content-Type", "text/plain")
	resp, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
