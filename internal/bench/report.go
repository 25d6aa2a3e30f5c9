package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report is what a scenario measured. What does not belong to the scenario is left out.
type Report struct {
	Scenario    string  `json:"scenario"`
	Target      string  `json:"target"`
	QoS         byte    `json:"qos"`
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"` // of the measured part

	ConnectsPerSecond float64 `json:"connects_per_second,omitempty"`
	SessionsPresent   int     `json:"sessions_present,omitempty"`

	Published          uint64   `json:"published,omitempty"`
	PublishedPerSecond float64  `json:"published_per_second,omitempty"`
	Acked              uint64   `json:"acked,omitempty"`
	AckedPerSecond     float64  `json:"acked_per_second,omitempty"`
	Refused            uint64   `json:"refused,omitempty"`
	RefusedWhy         string   `json:"refused_why,omitempty"` // of the first
	AckLatency         *Latency `json:"ack_latency_ms,omitempty"`

	Delivered           uint64  `json:"delivered,omitempty"`
	DeliveriesPerSecond float64 `json:"deliveries_per_second,omitempty"`
	DeliveriesPerCPU    float64 `json:"deliveries_per_cpu_second,omitempty"`
	AcksPerCPU          float64 `json:"acks_per_cpu_second,omitempty"`

	// Of the whole run, not of the measured part only. What comes late is out of order, not lost. pub counts as lost what
	// is not acknowledged, sub as repeated what is marked DUP.
	Lost       *int64   `json:"lost,omitempty"`
	OutOfOrder *uint64  `json:"out_of_order,omitempty"`
	Repeated   *uint64  `json:"repeated,omitempty"`
	Latency    *Latency `json:"latency_ms,omitempty"`

	DrainSeconds float64  `json:"drain_seconds,omitempty"`
	LiveBefore   *Latency `json:"live_latency_before_ms,omitempty"`
	LiveDuring   *Latency `json:"live_latency_during_ms,omitempty"`

	// What others got and cost alone, and beside hostile clients.
	AlonePerSecond  float64 `json:"alone_deliveries_per_second,omitempty"`
	BesidePerSecond float64 `json:"beside_deliveries_per_second,omitempty"`
	AloneCPU        float64 `json:"alone_broker_cpu,omitempty"` // s a second
	BesideCPU       float64 `json:"beside_broker_cpu,omitempty"`
	HostileAt       string  `json:"hostile_target,omitempty"` // where hostile clients connected to, if not to Target
	Attempts        uint64  `json:"ended_attempts,omitempty"` // connections of hostile clients that the broker refused or ended
	AttemptsWhy     string  `json:"ended_attempts_why,omitempty"`
	FloodAcked      uint64  `json:"flood_acked,omitempty"`

	Disconnected    int    `json:"disconnected"`
	DisconnectedWhy string `json:"disconnected_why,omitempty"`

	CPUSeconds      float64 `json:"broker_cpu_seconds,omitempty"`
	RSSBefore       int     `json:"broker_rss_before_bytes,omitempty"`
	RSS             int     `json:"broker_rss_bytes,omitempty"`
	KBPerConnection float64 `json:"broker_kb_per_connection,omitempty"`
}

// JSON writes the report as one line.
func (r *Report) JSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	row("scenario", "%s, QoS %d, %s", r.Scenario, r.QoS, r.Target)
	if r.HostileAt != "" {
		row("", "hostile clients at %s", r.HostileAt)
	}
	row("connections", "%d, of which %d were lost", r.Connections, r.Disconnected)
	if r.DisconnectedWhy != "" {
		row("", "the first: %s", r.DisconnectedWhy)
	}
	row("measured", "%.1f s", r.Seconds)
	if r.ConnectsPerSecond > 0 {
		row("connected", "%s/s", count(r.ConnectsPerSecond))
	}
	if r.SessionsPresent > 0 {
		row("sessions", "%d were still there", r.SessionsPresent)
	}
	if r.Published > 0 {
		row("published", "%d, %s/s", r.Published, count(r.PublishedPerSecond))
	}
	if r.Acked > 0 {
		row("acknowledged", "%d, %s/s, %d refused", r.Acked, count(r.AckedPerSecond), r.Refused)
		if r.RefusedWhy != "" {
			row("", "the first: %s", r.RefusedWhy)
		}
		if r.AckLatency != nil {
			row("", "%s", r.AckLatency)
		}
	}
	if r.AcksPerCPU > 0 {
		row("", "%s per second of the broker's CPU", count(r.AcksPerCPU))
	}
	if r.Delivered > 0 {
		row("delivered", "%d, %s/s", r.Delivered, count(r.DeliveriesPerSecond))
	}
	if r.DeliveriesPerCPU > 0 {
		row("", "%s per second of the broker's CPU", count(r.DeliveriesPerCPU))
	}
	var wrong []string
	if r.Lost != nil {
		wrong = append(wrong, fmt.Sprintf("%d lost", *r.Lost))
	}
	if r.OutOfOrder != nil {
		wrong = append(wrong, fmt.Sprintf("%d out of order", *r.OutOfOrder))
	}
	if r.Repeated != nil {
		wrong = append(wrong, fmt.Sprintf("%d repeated", *r.Repeated))
	}
	if len(wrong) > 0 {
		row("", "%s", strings.Join(wrong, ", "))
	}
	if r.Latency != nil {
		row("latency", "%s", r.Latency)
	}
	if r.DrainSeconds > 0 {
		row("drained", "in %.3f s", r.DrainSeconds)
	}
	if r.LiveBefore != nil {
		row("live before", "%s", r.LiveBefore)
	}
	if r.LiveDuring != nil {
		row("live meanwhile", "%s", r.LiveDuring)
	}
	if r.AlonePerSecond > 0 {
		row("others", "%s deliveries/s alone, %s/s beside; %.3f and %.3f s of the broker's CPU a second", count(r.AlonePerSecond),
			count(r.BesidePerSecond), r.AloneCPU, r.BesideCPU)
		row("hostile", "%d connections refused or ended, %d messages acknowledged", r.Attempts, r.FloodAcked)
		if r.AttemptsWhy != "" {
			row("", "the first: %s", r.AttemptsWhy)
		}
	}
	if r.RSS > 0 {
		row("broker", "%.2f s of CPU, %.1f MB resident (%.1f MB before)", r.CPUSeconds, float64(r.RSS)/1e6, float64(r.RSSBefore)/1e6)
	}
	if r.KBPerConnection > 0 {
		row("", "%.1f KB per connection", r.KBPerConnection)
	}
	return t.Flush()
}

// String is one line of percentiles.
func (l *Latency) String() string {
	return fmt.Sprintf("p50 %.2f ms, p90 %.2f, p99 %.2f, p99.9 %.2f, longest %.2f", l.P50, l.P90, l.P99, l.P999, l.Max)
}

// count writes a figure with three digits that matter.
func count(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + " M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'f', 1, 64) + " k"
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}
