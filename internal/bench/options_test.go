package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What cannot be is refused before anything is connected, with what can.
func TestOptions(t *testing.T) {
	at := Target{Host: "no..host", Version: 4}
	idle := func(change func(*Idle)) scenario {
		o := &Idle{Target: at, Connections: 1}
		change(o)
		return o
	}
	pub := func(change func(*Publish)) scenario {
		o := &Publish{Target: at, Publishers: 1, QoS: 1, InFlight: 1, Topic: "t", Duration: 1}
		change(o)
		return o
	}
	sub := func(change func(*Listen)) scenario {
		o := &Listen{Target: at, Subscribers: 1, Filter: "t", Duration: 1}
		change(o)
		return o
	}
	rooms := func(change func(*Rooms)) scenario {
		o := room(at, 1)
		change(o)
		return o
	}
	offline := func(change func(*Offline)) scenario {
		o := interruptedReturn(at).(*Offline)
		change(o)
		return o
	}
	for _, tt := range []struct {
		s    scenario
		want string
	}{
		{idle(func(o *Idle) { o.Connections = 0 }), "0 connections (-c): it is 1 to "},
		{idle(func(o *Idle) { o.QoS = 3 }), "3 is no QoS (-q): it is 0 to 2"},
		{idle(func(o *Idle) { o.ConnRate = -1 }), "-R -1: it is 0 to 10000000 a second"},
		{idle(func(o *Idle) { o.Version = 6 }), "-V 6: it is 3, 4 (3.1.1) or 5"},

		{pub(func(o *Publish) { o.Publishers = 0 }), "0 publishers (-c): it is 1 to "},
		{pub(func(o *Publish) { o.InFlight = 0 }), "0 in flight (-F): it is 1 to 65535"},
		{pub(func(o *Publish) { o.InFlight = 1 << 16 }), "65536 in flight (-F): it is 1 to 65535"},
		{pub(func(o *Publish) { o.Interval = -time.Second }), "-I -1000: "},
		{pub(func(o *Publish) { o.Topic = "" }), "no topic to publish to (-t)"},
		{pub(func(o *Publish) { o.Size = -1 }), "-1 bytes (-s): it is 0 to "},
		{pub(func(o *Publish) { o.Duration = 0 }), "a run needs some time"},
		{pub(func(o *Publish) { o.Warmup = -1 }), "a run needs some time"},

		{sub(func(o *Listen) { o.Subscribers = 0 }), "0 subscribers (-c): it is 1 to "},
		{sub(func(o *Listen) { o.Filter = "" }), "no topic to subscribe to (-t)"},
		{sub(func(o *Listen) { o.Duration = 0 }), "a run needs some time"},

		{rooms(func(o *Rooms) { o.Rooms = 0 }), "0 rooms (--rooms): it is 1 to "},
		{rooms(func(o *Rooms) { o.Readers = 0 }), "0 readers (-c): it is 1 to "},
		{rooms(func(o *Rooms) { o.Stuck = -1 }), "-1 readers who never read (--stuck): it is 0 to "},
		{rooms(func(o *Rooms) { o.Publishers = maxPublishers + 1 }), "65537 publishers (--publishers): it is 1 to 65536"},
		{rooms(func(o *Rooms) { o.Size = stampLen - 1 }), "51 bytes, of which the generator needs some, (-s): it is 52 to "},
		{rooms(func(o *Rooms) { o.InFlight = 0 }), "0 in flight (-F): with 1 publishers it is at most 65535 each"},
		{rooms(func(o *Rooms) { o.InFlight, o.Publishers = 70, 1000 }), "70 in flight (-F): with 1000 publishers it is at most 65 each"},
		{rooms(func(o *Rooms) { o.Rate = math.NaN() }), "--rate NaN: it is 0 to 10000000 a second"},
		{rooms(func(o *Rooms) { o.Rate = math.Inf(1) }), "--rate +Inf: it is 0 to 10000000 a second"},
		{rooms(func(o *Rooms) { o.Rooms = 2 }), "of several rooms need %r, the number of the room"},
		{rooms(func(o *Rooms) { o.ReadTopic = "" }), "no topic to publish or to subscribe to"},

		{offline(func(o *Offline) { o.Sessions = 0 }), "0 sessions (-c): it is 1 to "},
		{offline(func(o *Offline) { o.Messages = 0 }), "0 messages (-L): it is 1 to "},
		{offline(func(o *Offline) { o.InFlight = 1 << 16 }), "65536 in flight (-F): it is 1 to 65535"},
		{offline(func(o *Offline) { o.Size = 0 }), "(-s): it is 52 to "},
		{offline(func(o *Offline) { o.Live = 1 }), "live readers (--live) need messages (--rate)"},
		{offline(func(o *Offline) { o.Live = -1 }), "-1 live readers (--live): it is 0 to "},
		{offline(func(o *Offline) { o.LiveTime = -1 }), "--live-time -1ns: it cannot be negative"},
		{offline(func(o *Offline) { o.SendTopic = "" }), "no topic to publish or to subscribe to"},
	} {
		r, err := tt.s.Run(t.Context())
		if _, ok := errors.AsType[*OptionError](err); !ok || r != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%T: %v, want %s", tt.s, err, tt.want)
		}
	}
}

// The processes are added up.
func TestUsage(t *testing.T) {
	none, err := measure(nil)
	if err != nil || none != (usage{}) {
		t.Errorf("of none: %+v, %v", none, err)
	}
	one, err := measure([]int{os.Getpid()})
	if err != nil || one.rss <= 0 {
		t.Fatalf("%+v, %v", one, err)
	}
	two, err := measure([]int{os.Getpid(), os.Getppid()})
	if err != nil || two.rss <= one.rss/2 {
		t.Errorf("%+v, %v; one: %+v", two, err, one)
	}
	for later := one; later.cpu <= one.cpu; {
		if later, err = measure([]int{os.Getpid()}); err != nil {
			t.Fatal(err)
		}
	}
}

// A report without anything in it is JSON too, and what a scenario does not know is left out of it.
func TestReport(t *testing.T) {
	r := Report{Scenario: "conn", Target: "mqtt://here", QoS: 1, Connections: 3, Seconds: 1.5}
	wantJSON := `{"scenario":"conn","target":"mqtt://here","qos":1,"connections":3,"seconds":1.5,"disconnected":0}` + "\n"
	wantText := strings.Join([]string{
		"scenario     conn, QoS 1, mqtt://here", "connections  3, of which 0 were lost", "measured     1.5 s", "",
	}, "\n")
	compare(t, &r, wantJSON, wantText)

	l := &Latency{P50: 1, P90: 2, P99: 3, P999: 4, Max: 5}
	r = Report{
		Scenario: "room", Target: "mqtt://here", Connections: 3, Seconds: 10, ConnectsPerSecond: 1234, SessionsPresent: 2,
		Published: 1000, PublishedPerSecond: 100, Acked: 900, AckedPerSecond: 90, Refused: 1, RefusedWhy: "no", AckLatency: l,
		Delivered: 10_000_000, DeliveriesPerSecond: 1e6, DeliveriesPerCPU: 2e6, AcksPerCPU: 45,
		Lost: new(int64(7)), OutOfOrder: new(uint64(8)), Repeated: new(uint64(9)), Latency: l, DrainSeconds: 0.25, LiveBefore: l,
		LiveDuring: l, Disconnected: 1, DisconnectedWhy: "closed", CPUSeconds: 5, RSSBefore: 1e6, RSS: 2e6, KBPerConnection: 17,
	}
	lat := `{"p50":1,"p90":2,"p99":3,"p99.9":4,"max":5}`
	wantJSON = `{"scenario":"room","target":"mqtt://here","qos":0,"connections":3,"seconds":10,"connects_per_second":1234,` +
		`"sessions_present":2,"published":1000,"published_per_second":100,"acked":900,"acked_per_second":90,"refused":1,` +
		`"refused_why":"no","ack_latency_ms":` + lat + `,"delivered":10000000,"deliveries_per_second":1000000,` +
		`"deliveries_per_cpu_second":2000000,"acks_per_cpu_second":45,"lost":7,"out_of_order":8,"repeated":9,"latency_ms":` + lat +
		`,"drain_seconds":0.25,"live_latency_before_ms":` + lat + `,"live_latency_during_ms":` + lat +
		`,"disconnected":1,"disconnected_why":"closed","broker_cpu_seconds":5,"broker_rss_before_bytes":1000000,` +
		`"broker_rss_bytes":2000000,"broker_kb_per_connection":17}` + "\n"
	line := "p50 1.00 ms, p90 2.00, p99 3.00, p99.9 4.00, longest 5.00"
	wantText = strings.Join([]string{
		"scenario        room, QoS 0, mqtt://here",
		"connections     3, of which 1 were lost",
		"                the first: closed",
		"measured        10.0 s",
		"connected       1.2 k/s",
		"sessions        2 were still there",
		"published       1000, 100/s",
		"acknowledged    900, 90/s, 1 refused",
		"                the first: no",
		"                " + line,
		"                45 per second of the broker's CPU",
		"delivered       10000000, 1.00 M/s",
		"                2.00 M per second of the broker's CPU",
		"                7 lost, 8 out of order, 9 repeated",
		"latency         " + line,
		"drained         in 0.250 s",
		"live before     " + line,
		"live meanwhile  " + line,
		"broker          5.00 s of CPU, 2.0 MB resident (1.0 MB before)",
		"                17.0 KB per connection", "",
	}, "\n")
	compare(t, &r, wantJSON, wantText)
}

func compare(t *testing.T, r *Report, wantJSON, wantText string) {
	t.Helper()
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil || b.String() != wantJSON {
		t.Errorf("%v; JSON (- want, + got):\n%s", err, cmp.Diff(wantJSON, b.String()))
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || !cmp.Equal(&back, r) {
		t.Errorf("%v; read back:\n%s", err, cmp.Diff(r, &back))
	}
	b.Reset()
	if err := r.Text(&b); err != nil || b.String() != wantText {
		t.Errorf("%v; text (- want, + got):\n%s", err, cmp.Diff(wantText, b.String()))
	}
}

// The line of progress shows what there is, per second since the last one.
func TestProgressLine(t *testing.T) {
	for _, tt := range []struct {
		now, before totals
		want        string
	}{
		{totals{}, totals{}, "  3 s  0 deliveries/s"},
		{totals{sent: 10}, totals{}, "  3 s  5 messages/s"},
		{totals{sent: 10, acked: 4}, totals{sent: 4}, "  3 s  3 messages/s  2 acknowledgements/s"},
		{totals{sent: 10, delivered: 5000}, totals{delivered: 1000}, "  3 s  5 messages/s  2.0 k deliveries/s"},
		{totals{delivered: 4e6}, totals{}, "  3 s  2.00 M deliveries/s"},
	} {
		if got := progressLine(3e9, 2e9, tt.now, tt.before); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
