package main

import (
	"fmt"
	"strings"
)

// faults is what must not happen in a run and did, in the runs of one broker in one row.
type faults struct {
	lost       int64
	disordered int64 // or delivered twice without being marked as that
	refused    int64
	refusedWhy string // of the first
	ended      int    // connections that the broker closed
	endedWhy   string // of the first
	forgotten  int    // stored sessions that were not there any more
	least      float64
	runs       int // with any of these
}

// faultsOf looks through the reports of a row. least is the share delivered of what was offered, in the worst run.
func faultsOf(w *row, reports []*report) faults {
	all := faults{least: 1}
	for _, r := range reports {
		f := faults{
			lost: r.Lost, disordered: r.OutOfOrder, refused: r.Refused, ended: max(r.Disconnected-w.stuck, 0),
			forgotten: max(w.sessions-r.SessionsPresent, 0), least: 1,
		}
		if !w.overload {
			f.least = w.share(r)
		}
		if f == (faults{least: 1}) {
			continue
		}
		all.runs++
		all.lost += f.lost
		all.disordered += f.disordered
		all.refused += f.refused
		all.ended += f.ended
		all.forgotten += f.forgotten
		all.least = min(all.least, f.least)
		if f.ended > 0 && all.endedWhy == "" {
			all.endedWhy = r.DisconnectedWhy
		}
		if f.refused > 0 && all.refusedWhy == "" {
			all.refusedWhy = r.RefusedWhy
		}
	}
	return all
}

// words says what happened in some of so many runs, "" when nothing did.
func (f *faults) words(w *row, runs int) string {
	var words []string
	add := func(n int64, one, many, why string) {
		if n == 0 {
			return
		}
		said := plural(int(n), one, many)
		if why != "" {
			said += " (" + why + ")"
		}
		words = append(words, said)
	}
	add(f.lost, "message lost", "messages lost", "")
	add(f.disordered, "out of order or twice", "out of order or twice", "")
	add(f.refused, "message refused", "messages refused", f.refusedWhy)
	add(int64(f.ended), "connection ended by the broker", "connections ended by the broker", f.endedWhy)
	add(int64(f.forgotten), "session forgotten", "sessions forgotten", "")
	if f.least < 1 && w.figures[0].name != share.name {
		words = append(words, "did not keep up: "+percent(f.least)+" delivered in time")
	}
	if len(words) == 0 {
		return ""
	}
	text := strings.Join(words, ", ")
	if runs > 1 {
		text += fmt.Sprintf(", in %d of %d runs", f.runs, runs)
	}
	return text
}
