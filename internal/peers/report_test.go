package main

import (
	"strings"
	"testing"
)

func TestParseReport(t *testing.T) {
	const line = `{"scenario":"room","target":"mqtt://127.0.0.1:1","qos":1,"connections":6,"seconds":0.5,"published":50,` +
		`"acked_per_second":99.7,"ack_latency_ms":{"p50":2,"p99":5.25},"delivered":251,"deliveries_per_second":500.6,` +
		`"deliveries_per_cpu_second":3585.5,"lost":3,"out_of_order":2,"repeated":1,"latency_ms":{"p50":1.9,"p99":5.5},` +
		`"disconnected":1,"disconnected_why":"EOF","broker_rss_bytes":43000000}` + "\n"
	r, err := parseReport([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if string(r.raw) != line {
		t.Errorf("the line was not kept: %s", r.raw)
	}
	w := &row{rate: 1000, readers: 1}
	for _, tt := range []struct {
		figure figure
		want   string
	}{
		{perCPU, "3.59 k"},
		{perSecond, "501"},
		{share, "50.2 %"},
		{p99, "5.50"},
		{acks, "99.7"},
		{ackP99, "5.25"},
		{complete, "98.8 %"},
		{resident, "43.0"},
	} {
		v, ok := tt.figure.of(w, r)
		if got := tt.figure.text(v); !ok || got != tt.want {
			t.Errorf("%s: %s, %t; want %s", tt.figure.name, got, ok, tt.want)
		}
	}
	for _, f := range []figure{drain, connects, perConnection} {
		if v, ok := f.of(w, r); ok {
			t.Errorf("%s: %v, which is not in the report", f.name, v)
		}
	}
	want := "3 messages lost, 2 out of order or twice, 1 connection ended by the broker (EOF), did not keep up: 50.2 % delivered in time"
	f := faultsOf(w, []*report{r})
	if got := f.words(&row{figures: []figure{perCPU}}, 1); got != want {
		t.Errorf("faults: %s\nwant    %s", got, want)
	}
}

func TestParseReportRefuses(t *testing.T) {
	for _, text := range []string{"", "connected", `{"scenario":`, `{"scenario":"room"} {}`, `{"delivered":7}`, `[]`} {
		if _, err := parseReport([]byte(text)); err == nil || !strings.Contains(err.Error(), "no report") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestShare(t *testing.T) {
	w := &row{rate: 100, readers: 10} // 10,000 deliveries in 10 s
	for _, tt := range []struct {
		delivered, lost int64
		want            string
	}{
		{10_000, 0, "100 %"},
		{10_100, 0, "100 %"}, // what was under way when the time began
		{9_980, 0, "100 %"},  // what was under way when it ended
		{9_999, 1, "99.9 %"},
		{9_900, 0, "100 %"}, // 0.1 s late
		{9_800, 0, "98.0 %"},
		{150, 0, "1.50 %"},
		{0, 0, "0 %"},
	} {
		got := percent(w.share(&report{Seconds: 10, Delivered: tt.delivered, Lost: tt.lost}))
		if got != tt.want {
			t.Errorf("%d delivered, %d lost: %s, want %s", tt.delivered, tt.lost, got, tt.want)
		}
	}
}
