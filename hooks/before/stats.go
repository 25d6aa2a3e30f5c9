package before

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// figures are counters since the start of the node.
type figures struct{ asked, allowed, denied, replaced, failed, skipped atomic.Uint64 }

// Collectors returns the metrics of the hook before a send.
func (a *Asker) Collectors() []prometheus.Collector {
	counter := func(name, help string, v *atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "madang", Subsystem: "before_send", Name: name, Help: help},
			func() float64 { return float64(v.Load()) })
	}
	gauge := func(name, help string, f func(g *asking) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "madang", Subsystem: "before_send", Name: name, Help: help},
			func() float64 {
				if g := a.now.Load(); g != nil {
					return f(g)
				}
				return 0
			})
	}
	s := &a.stats
	return []prometheus.Collector{
		counter("asked_total", "Messages asked about.", &s.asked),
		counter("allowed_total", "Of these, taken as they were.", &s.allowed),
		counter("denied_total", "Of these, refused.", &s.denied),
		counter("replaced_total", "Of these, taken as something else.", &s.replaced),
		counter("failed_total", "Of these, without an answer that could be used.", &s.failed),
		counter("skipped_total", "Messages nobody was asked about since no answers came.", &s.skipped),
		gauge("waiting", "Messages that wait for an answer.", func(g *asking) float64 {
			g.mu.Lock()
			defer g.mu.Unlock()
			return float64(g.count)
		}),
		gauge("broken", "Whether nobody is asked since no answers come.", func(g *asking) float64 {
			if g.broken() {
				return 1
			}
			return 0
		}),
	}
}
