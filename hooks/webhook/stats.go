package webhook

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// figures are counters of one webhook since the start of the node.
type figures struct{ sent, failed, dead, dropped atomic.Uint64 }

// collector gives the figures of all webhooks, by name.
type collector struct {
	h                                *Hooks
	sent, failed, dead, dropped, lag *prometheus.Desc
}

// Collector returns the metrics of the webhooks.
func (h *Hooks) Collector() prometheus.Collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("madang_webhook_"+name, help, []string{"webhook"}, nil)
	}
	return &collector{
		h: h, sent: desc("sent_total", "Events the receiver took."), failed: desc("failed_total", "Tries it did not take."),
		dead: desc("dead_total", "Events that were given up."), dropped: desc("dropped_total", "Events that are in no log and found no place."),
		lag: desc("lag", "Events of the feed that are not behind the webhook yet; of the node that sends."),
	}
}

// Describe sends the descriptions.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.sent, c.failed, c.dead, c.dropped, c.lag} {
		out <- d
	}
}

// Collect sends the figures.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	for name, f := range c.h.stats {
		for d, v := range map[*prometheus.Desc]uint64{
			c.sent: f.sent.Load(), c.failed: f.failed.Load(), c.dead: f.dead.Load(), c.dropped: f.dropped.Load(),
		} {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), name)
		}
	}
	_, next, _ := c.h.cfg.Store.Feed()
	for _, s := range c.h.now {
		out <- prometheus.MustNewConstMetric(c.lag, prometheus.GaugeValue, float64(next-1-min(s.where().Place, next-1)), s.hook.Name)
	}
}
