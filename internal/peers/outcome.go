package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// outcome is what the runs of one broker in one row came to.
type outcome struct {
	reports []*report
	errs    []error // of runs without a report
}

func (o *outcome) runs() int { return len(o.reports) + len(o.errs) }

// median returns the median of a figure over the runs that have it.
func (o *outcome) median(w *row, f figure) (v float64, ok bool) {
	var values []float64
	for _, r := range o.reports {
		if v, ok := f.of(w, r); ok {
			values = append(values, v)
		}
	}
	return median(values)
}

// median is the middle value, or the mean of the two.
func median(values []float64) (v float64, ok bool) {
	n := len(values)
	if n == 0 {
		return 0, false
	}
	values = slices.Sorted(slices.Values(values))
	return (values[(n-1)/2] + values[n/2]) / 2, true
}

// flawless reports whether every run had a report without faults.
func (o *outcome) flawless(w *row) bool {
	f := faultsOf(w, o.reports)
	return len(o.errs) == 0 && len(o.reports) > 0 && f.runs == 0
}

// troubles says in plain words what was wrong in the runs, "" when nothing was.
func (o *outcome) troubles(w *row) string {
	f := faultsOf(w, o.reports)
	said := f.words(w, o.runs())
	if len(o.errs) == 0 {
		return said
	}
	failed := short(o.errs[0])
	if o.runs() > 1 {
		failed = fmt.Sprintf("%d of %d runs failed: %s", len(o.errs), o.runs(), failed)
	}
	return strings.Join(slices.DeleteFunc([]string{said, failed}, func(s string) bool { return s == "" }), "; ")
}

// cell is what stands in the table. What was wrong is said with the first figure of a row.
func (o *outcome) cell(w *row, figure int) string {
	v, ok := o.median(w, w.figures[figure])
	text := "–"
	if ok {
		text = w.figures[figure].text(v)
	}
	trouble := ""
	if figure == 0 {
		trouble = o.troubles(w)
	}
	switch {
	case trouble == "":
		return text
	case !ok:
		return trouble
	}
	return text + "; " + trouble
}

// short is the first line of an error, cut where it would burst a table.
func short(err error) string {
	const longest = 120
	line, _, _ := strings.Cut(err.Error(), "\n")
	if r := []rune(line); len(r) > longest {
		line = string(r[:longest]) + "…"
	}
	return line
}

// ratio compares Madang with the best of the given brokers, by name. ok is false when one side has no figure.
func ratio(w *row, f figure, mine *outcome, theirs map[string]*outcome) (times float64, best string, ok bool) {
	of, ok := mine.median(w, f)
	if !ok {
		return 0, "", false
	}
	var first float64
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		v, ok := theirs[name].median(w, f)
		if ok && v > 0 && (best == "" || f.less && v < first || !f.less && v > first) {
			first, best = v, name
		}
	}
	return of / first, best, best != ""
}
