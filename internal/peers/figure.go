package main

import (
	"fmt"
	"strconv"
	"strings"
)

// figure is one number of a report.
type figure struct {
	name string // with its unit
	of   func(w *row, r *report) (v float64, ok bool)
	text func(float64) string
	less bool // less is better
}

var (
	perCPU = figure{
		name: "deliveries per CPU-second", text: count,
		of: func(_ *row, r *report) (float64, bool) { return r.PerCPU, r.PerCPU > 0 },
	}
	perSecond = figure{
		name: "deliveries/s", text: count,
		of: func(_ *row, r *report) (float64, bool) { return r.PerSecond, true },
	}
	share = figure{
		name: "delivered of what was offered", text: percent,
		of: func(w *row, r *report) (float64, bool) { return w.share(r), true },
	}
	p99 = figure{
		name: "p99, ms", text: precise, less: true,
		of: func(_ *row, r *report) (float64, bool) { return r.Latency.p99() },
	}
	acks = figure{
		name: "acknowledgements/s", text: count,
		of: func(_ *row, r *report) (float64, bool) { return r.AcksPerSecond, r.AcksPerSecond > 0 },
	}
	ackP99 = figure{
		name: "p99, ms", text: precise, less: true,
		of: func(_ *row, r *report) (float64, bool) { return r.AckLatency.p99() },
	}
	drain = figure{
		name: "until all have everything, s", text: precise, less: true,
		of: func(_ *row, r *report) (float64, bool) { return r.DrainSeconds, r.DrainSeconds > 0 },
	}
	complete = figure{
		name: "of what was missed, delivered", text: percent,
		of: func(_ *row, r *report) (float64, bool) {
			all := r.Delivered + r.Lost
			return float64(r.Delivered) / float64(all), all > 0
		},
	}
	connects = figure{
		name: "connections/s", text: count,
		of: func(_ *row, r *report) (float64, bool) { return r.ConnectsPerSecond, r.ConnectsPerSecond > 0 },
	}
	perConnection = figure{
		name: "KB per connection", text: precise, less: true,
		of: func(_ *row, r *report) (float64, bool) { return r.KBPerConnection, r.KBPerConnection > 0 },
	}
	resident = figure{
		name: "resident, MB", text: precise, less: true,
		of: func(_ *row, r *report) (float64, bool) { return float64(r.RSS) / 1e6, r.RSS > 0 },
	}
)

func (l *latency) p99() (float64, bool) {
	if l == nil {
		return 0, false
	}
	return l.P99, true
}

// count writes a number with three digits that matter.
func count(v float64) string {
	switch {
	case v >= 999.5e3:
		return precise(v/1e6) + " M"
	case v >= 999.5:
		return precise(v/1e3) + " k"
	}
	return precise(v)
}

// precise writes a number with three digits that matter, and all digits before the point.
func precise(v float64) string {
	if v == 0 {
		return "0"
	}
	_, e, _ := strings.Cut(strconv.FormatFloat(v, 'e', 2, 64), "e") // rounded, so that 9.999 has two digits before the point
	exponent, _ := strconv.Atoi(e)
	return strconv.FormatFloat(v, 'f', min(max(2-exponent, 0), 3), 64)
}

// percent writes a share. It says 100 % only of all.
func percent(v float64) string {
	if v < 1 && v >= 0.9995 {
		v = 0.999
	}
	return fmt.Sprintf("%s %%", precise(v*100))
}
