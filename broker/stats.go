package broker

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// stats are counters since the start.
type stats struct {
	connected, disconnected, rejected atomic.Uint64
	published, refused                atomic.Uint64 // PUBLISH packets in, refusals out
	delivered, live                   atomic.Uint64 // PUBLISH packets queued to sockets, live values passed on
	together                          atomic.Uint64 // sends that shared a system call with others
	unknown, stalled, flooded         atomic.Uint64 // connections ended for these reasons
}

// Traffic rises with every PUBLISH that is received or sent.
func (b *Broker) Traffic() uint64 { return b.stats.published.Load() + b.stats.delivered.Load() }

// Collectors returns the broker's metrics.
func (b *Broker) Collectors() []prometheus.Collector {
	counter := func(name, help string, v *atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "madang", Name: name, Help: help},
			func() float64 { return float64(v.Load()) })
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "madang", Name: name, Help: help}, f)
	}
	s := &b.stats
	return []prometheus.Collector{
		counter("connections_opened_total", "Connections whose CONNECT was accepted.", &s.connected),
		counter("connections_closed_total", "Accepted connections that ended.", &s.disconnected),
		counter("connections_rejected_total", "Connections whose CONNECT was refused or did not come.", &s.rejected),
		counter("publishes_received_total", "PUBLISH packets received.", &s.published),
		counter("publishes_refused_total", "Publishes answered with a refusal.", &s.refused),
		counter("publishes_sent_total", "PUBLISH packets queued to clients.", &s.delivered),
		counter("sends_together_total", "Sends to sockets that shared a system call with others (node.io_uring).", &s.together),
		counter("live_values_total", "Live values passed on.", &s.live),
		counter("unknown_outcomes_total", "Connections closed since an outcome stayed unknown.", &s.unknown),
		counter("stalled_closed_total", "Connections closed since their socket took nothing.", &s.stalled),
		counter("flood_closed_total", "Connections closed since they went on sending above their limits.", &s.flooded),
		counter("connections_refused_busy_total", "Connections refused since too many came at once.", &b.admission.refused),
		counter("connections_delayed_refusals_total", "Refusals that were held back for a second.", &b.admission.hasty),
		gauge("connections_waiting", "Connections whose CONNECT waits for its turn.", func() float64 {
			n, _ := b.admission.waiting()
			return float64(n)
		}),
		gauge("connections", "Live connections.", func() float64 { return float64(b.Connections()) }),
		gauge("outbound_bytes", "Bytes waiting for sockets.", func() float64 { return float64(b.queued.Load()) }),
		gauge("tail_bytes", "Memory of recent entries.", func() float64 { return float64(b.cfg.Store.TailBytes()) }),
	}
}
