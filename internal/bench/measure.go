package bench

import (
	"context"
	"fmt"
	"time"
)

// batch is how much is sent before what has arrived, the time and the end of the run are looked at again.
const batch = 256

// totals are what a run has counted since it began.
type totals struct {
	sent, acked, refused uint64
	delivered            int64
}

// load is a run that lasts for a time: something is sent and counted.
type load interface {
	step(start int64) error // waits for a while, handles and sends what is due
	totals() totals
	forget() // empties the histograms
	over() bool
}

// period is how long a load runs, and what of it is measured.
type period struct {
	warmup, duration time.Duration
}

func (p period) check() error {
	if p.warmup < 0 || p.duration <= 0 {
		return optionf("-d %v, --warmup %v: a run needs some time", p.duration, p.warmup)
	}
	return nil
}

// taken is what happened in the measured part.
type taken struct {
	totals
	nanoseconds int64
	cpu         float64 // s
	rss         int     // bytes, at its end
}

// run steps the load for its time. Warming up is not measured, unless the load is over by then. When ctx ends before
// that, what was measured comes with the cause.
func (c *crowd) run(ctx context.Context, p period, load load) (t taken, err error) {
	begin, err := measure(c.target.PIDs)
	if err != nil {
		return t, err
	}
	var first, shown totals
	start := c.clock()
	from, said := start+int64(p.warmup), start
	to := from + int64(p.duration)
	began := false
	for now := start; now < to && ctx.Err() == nil; now = c.clock() {
		if !began && now >= from {
			began = true
			if begin, err = measure(c.target.PIDs); err != nil {
				return t, err
			}
			c.locked(func() { first = load.totals(); load.forget() })
			from = c.clock()
			to = from + int64(p.duration)
		}
		if err := load.step(start); err != nil {
			return t, err
		}
		var at totals
		var over bool
		c.locked(func() { at, over = load.totals(), load.over() })
		if over {
			break
		}
		if now-said >= int64(time.Second) {
			c.say(progressLine(now-start, now-said, at, shown))
			said, shown = now, at
		}
	}
	end, err := measure(c.target.PIDs)
	if err != nil {
		return t, err
	}
	if !began {
		from = start
	}
	c.locked(func() { t.totals = load.totals() })
	t.nanoseconds = c.clock() - from
	t.sent -= first.sent
	t.acked -= first.acked
	t.refused -= first.refused
	t.delivered -= first.delivered
	t.cpu, t.rss = end.cpu-begin.cpu, end.rss
	if ctx.Err() != nil {
		return t, context.Cause(ctx)
	}
	return t, nil
}

// per returns n per second when it took so many ns. It is never what JSON cannot say.
func per(n float64, ns int64) float64 {
	if ns <= 0 {
		return 0
	}
	return n * 1e9 / float64(ns)
}

func progressLine(since, span int64, now, before totals) string {
	rate := func(n int64) string { return count(per(float64(n), span)) }
	line := fmt.Sprintf("%3.0f s", float64(since)/1e9)
	if now.sent > 0 {
		line += fmt.Sprintf("  %s messages/s", rate(int64(now.sent-before.sent)))
	}
	if now.acked > 0 {
		line += fmt.Sprintf("  %s acknowledgements/s", rate(int64(now.acked-before.acked)))
	}
	if now.delivered > 0 || now.sent == 0 {
		line += fmt.Sprintf("  %s deliveries/s", rate(now.delivered-before.delivered))
	}
	return line
}

// fill puts what was measured into the report.
func (t *taken) fill(r *Report) {
	r.Seconds = float64(t.nanoseconds) / 1e9
	r.Published, r.Acked, r.Refused, r.Delivered = t.sent, t.acked, t.refused, uint64(t.delivered)
	r.PublishedPerSecond = per(float64(r.Published), t.nanoseconds)
	r.AckedPerSecond = per(float64(r.Acked), t.nanoseconds)
	r.DeliveriesPerSecond = per(float64(r.Delivered), t.nanoseconds)
	r.CPUSeconds, r.RSS = t.cpu, t.rss
	if t.cpu > 0 {
		r.DeliveriesPerCPU = float64(r.Delivered) / t.cpu
		r.AcksPerCPU = float64(r.Acked) / t.cpu
	}
}
