package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// comparison is a whole run of the program: what is measured, and then what came out.
type comparison struct {
	meter
	brokers  []*broker // Madang is one of them
	missing  []error   // why others are not
	groups   []group
	runs     int
	outcomes map[string]map[string]*outcome // by row, by broker

	journal io.Writer // gets every run as a line of JSON
	say     func(format string, args ...any)
}

// record is a line of the journal.
type record struct {
	Row     string          `json:"row"`
	Broker  string          `json:"broker"`
	Version string          `json:"version"`
	Run     int             `json:"run"` // from 1
	Error   string          `json:"error,omitempty"`
	Report  json.RawMessage `json:"report,omitempty"`
}

// compare puts all brokers through all rows. The brokers take turns, run by run, so that what else goes on on the
// machine hits them alike. A run that fails is an outcome like others; only the end of ctx or of the journal is an error.
func (c *comparison) compare(ctx context.Context) error {
	c.outcomes = map[string]map[string]*outcome{}
	for _, g := range c.groups {
		for i := range g.rows {
			if err := c.compareRow(ctx, &g.rows[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *comparison) compareRow(ctx context.Context, w *row) error {
	all := map[string]*outcome{}
	c.outcomes[w.name] = all
	for run := range c.runs {
		for _, b := range c.brokers {
			if b.name == kernel && !w.null {
				continue
			}
			o := all[b.name]
			if o == nil {
				o = new(outcome)
				all[b.name] = o
			}
			if b.name != ours && o.tooSlow() {
				continue // it would only take its time again
			}
			r, err := c.measure(ctx, b, w)
			if ctx.Err() != nil {
				return err
			}
			o.add(r, err)
			if err := c.note(w, b, run+1, r, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// note tells what a run came to.
func (c *comparison) note(w *row, b *broker, run int, r *report, err error) error {
	line := record{Row: w.name, Broker: b.name, Version: b.version, Run: run}
	one := new(outcome)
	one.add(r, err)
	if err != nil {
		line.Error = err.Error()
	} else {
		line.Report = r.raw
	}
	var said []string
	for i, f := range w.figures {
		said = append(said, f.name+": "+one.cell(w, i))
	}
	c.say("%s  run %d of %d  %s  %s", w.name, run, c.runs, b.name, strings.Join(said, "  "))
	if err := json.NewEncoder(c.journal).Encode(line); err != nil {
		return fmt.Errorf("write the reports: %w", err)
	}
	return nil
}

// add takes the result of a run.
func (o *outcome) add(r *report, err error) {
	if err != nil {
		o.errs = append(o.errs, err)
		return
	}
	o.reports = append(o.reports, r)
}

// tooSlow reports whether a run had no result in its time.
func (o *outcome) tooSlow() bool {
	for _, err := range o.errs {
		if errors.Is(err, errTimeout) {
			return true
		}
	}
	return false
}
