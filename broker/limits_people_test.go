package broker_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
)

// Limits of what one person has are met over HTTP and as a call over MQTT: refused with the key, counted, changed by a reload.
func TestLimitsOfPeople(t *testing.T) {
	t.Parallel()
	d := new(fullDisk)
	d.free.Store(1 << 30)
	n := testcluster.Start(t, testcluster.Options{Usage: d.usage, Set: []string{"auth.register=open"}})
	l := &limited{Node: n, file: filepath.Join(t.TempDir(), "madang.yaml")}
	type params = map[string]any
	for _, tt := range []struct {
		key       limit.Key
		low, high string
		status    int
		code      string
		op, rpc   string // rpc "": HTTP alone
		ask       func(user string, i int) params
	}{
		{limit.RoomsPerUser, "2", "200", 403, "limit", "POST /rooms", "room.create", func(user string, i int) params {
			return params{"room": fmt.Sprint(user, ".", i), "kind": "public"}
		}},
		{limit.Contacts, "2", "200", 403, "limit", "PUT /me/contacts/{user}", "contacts.add", func(_ string, i int) params {
			return params{"user": fmt.Sprint("friend", i)}
		}},
		{limit.Contacts, "2", "200", 403, "limit", "PUT /me/blocks/{user}", "blocks.add", func(_ string, i int) params {
			return params{"user": fmt.Sprint("foe", i)}
		}},
		{limit.ContactsPerDay, "2", "200", 403, "limit", "PUT /me/contacts/{user}", "contacts.add", func(_ string, i int) params {
			return params{"user": fmt.Sprint("friend", i)}
		}},
		{limit.RegisterRate, "1", "1000", 429, "rate_limited", "POST /users", "", func(user string, i int) params {
			return params{"user": fmt.Sprint(user, ".", i), "password": "a long enough one"}
		}},
		{limit.DiskFree, "2GiB", "100MiB", 503, "storage_full", "POST /rooms", "room.create", func(user string, i int) params {
			return params{"room": fmt.Sprint(user, ".", i), "kind": "public"}
		}},
	} {
		t.Run(tt.key.String()+" "+tt.op, func(t *testing.T) {
			l.t, l.key = t, tt.key.String()
			user := strings.NewReplacer("limits.", "", "_", "", " ", "", "/", "", "{", "", "}", "").Replace(tt.key.String() + tt.op)
			web := webtest.Login(t, n.At().Web, user, "x")
			if tt.op == "POST /users" {
				web.Token = ""
			}
			tries := 0
			over := func(as string, ask func(i int) (status int, code, text string)) {
				l.set(tt.low)
				before := l.refusals()
				var code, text string
				status := 0
				mqtttest.Eventually(t, "it is refused", func() bool {
					for range 8 {
						tries++
						if status, code, text = ask(tries); code != "" {
							return true
						}
					}
					return false
				})
				if status != tt.status || code != tt.code || !strings.Contains(text, "("+l.key+")") {
					t.Errorf("%s: %d %s %s", as, status, code, text)
				}
				if l.refusals() <= before {
					t.Errorf("%s: not counted", as)
				}
				l.set(tt.high)
				mqtttest.Eventually(t, "it is taken after a reload", func() bool {
					for range 8 {
						tries++
						if _, code, _ := ask(tries); code != "" {
							return false
						}
					}
					return true
				})
			}
			over("HTTP", func(i int) (int, string, string) {
				status, answer := web.Ask(t, tt.op, tt.ask(user, i))
				if status < http.StatusMultipleChoices {
					return status, "", ""
				}
				return status, fmt.Sprint(answer["code"]), fmt.Sprint(answer["detail"])
			})
			if tt.rpc == "" {
				return
			}
			c := caller(t, n, mqtttest.Flavours[0], user+"2")
			over("rpc", func(i int) (int, string, string) {
				var list []string
				for k, v := range tt.ask(user+"2", i) {
					list = append(list, fmt.Sprintf("%q:%q", k, v))
				}
				r := tryCall(t, c, tt.rpc, "{"+strings.Join(list, ",")+"}")
				return r.Error.Status, r.Error.Code, r.Error.Detail
			})
		})
	}
}

// A will waits no longer than limits.will_delay, whatever it asks for, and longer after a reload.
func TestLimitOfWillDelay(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	l := &limited{Node: n, t: t, key: limit.WillDelay.String(), file: filepath.Join(t.TempDir(), "madang.yaml")}
	room := roomOf(t)
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "reader"})
	reader.Subscribe(msgs(room))
	for i, value := range []string{"1h", "1s"} {
		l.set(value)
		will := mqtttest.Message(send(room), value, 1)
		will.Properties.WillDelayInterval = 100
		l.open(mqtttest.Options{ClientID: value, Expiry: 3600, Will: &will}).Cut()
		if got := l.refusals(); got != float64(i) {
			t.Errorf("%s: %v are counted", value, got)
		}
	}
	if e := parse(t, reader.Next()); e.text() != "1s" {
		t.Errorf("the will of %q came", e.text())
	}
	quiet(t, reader)
}
