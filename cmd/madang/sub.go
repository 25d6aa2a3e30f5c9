package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"
)

func newSubCommand() *cobra.Command {
	var f mqttFlags
	var topics []string
	var count int
	var wait uint
	var verbose, keep bool
	cmd := &cobra.Command{
		Use:   "sub -t TOPIC [-C COUNT] [-v]",
		Short: "Subscribe and print what arrives",
		Long: "Subscribe and print the payload of each message, one per line, until interrupted.\n" +
			"The exit code is 1 when a subscription is refused or the connection ends; the reason goes to stderr.\n" +
			tokenHelp,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			expiry := uint32(0)
			switch {
			case len(topics) == 0:
				return usagef("no topic: give -t")
			case count < 0:
				return usagef("-C %d: the number of messages to wait for", count)
			case keep && f.clientID == "":
				return usagef("-c needs -i: a session is kept under its client id")
			case keep:
				expiry = forever
			}
			ctx, cancel := cmd.Context(), context.CancelFunc(func() {})
			if wait > 0 {
				ctx, cancel = context.WithTimeout(ctx, time.Duration(wait)*time.Second)
			}
			defer cancel()
			p := newPrinter(cmd.OutOrStdout(), verbose, count)
			l, err := f.connect(ctx, expiry, p.print)
			if err != nil {
				return err
			}
			defer l.close()
			if err := f.subscribe(l, topics); err != nil {
				return err
			}
			select {
			case err := <-p.done:
				return err
			case <-l.ctx.Done():
			}
			if ctx.Err() == nil {
				return context.Cause(l.ctx)
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && count > 0 {
				return fmt.Errorf("fewer than %d messages within %d s", count, wait)
			}
			return nil
		},
	}
	f.register(cmd)
	cmd.Flags().StringArrayVarP(&topics, "topic", "t", nil, "topic `filter`; may be repeated")
	cmd.Flags().IntVarP(&count, "count", "C", 0, "end after this many messages (`number`)")
	cmd.Flags().UintVarP(&wait, "wait", "W", 0, "end after this many `seconds`")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the topic before the payload")
	cmd.Flags().BoolVarP(&keep, "keep", "c", false, "keep the session, and go on with it next time (needs -i)")
	return cmd
}

func (f *mqttFlags) subscribe(l *link, topics []string) error {
	s := &paho.Subscribe{}
	for _, t := range topics {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: t, QoS: f.qos})
	}
	ack, err := l.client.Subscribe(l.ctx, s)
	if ack == nil {
		return l.explain(err)
	}
	text := ""
	if ack.Properties != nil {
		text = ack.Properties.ReasonString
	}
	for i, code := range ack.Reasons {
		if code >= 0x80 && i < len(topics) {
			return fmt.Errorf("subscription to %s refused: %s", topics[i], reason(code, text))
		}
	}
	return err
}

// printer writes messages, one line each. done receives the end: nil after the last one asked for, or why writing
// failed.
type printer struct {
	out     io.Writer
	verbose bool
	left    int // messages to come; below 0 = any number
	done    chan error
}

func newPrinter(out io.Writer, verbose bool, count int) *printer {
	if count == 0 {
		count = -1
	}
	return &printer{out: out, verbose: verbose, left: count, done: make(chan error, 1)}
}

// print is called by one goroutine at a time.
func (p *printer) print(m *paho.Publish) {
	if p.left == 0 {
		return
	}
	line := make([]byte, 0, len(m.Topic)+len(m.Payload)+2)
	if p.verbose {
		line = append(append(line, m.Topic...), ' ')
	}
	_, err := p.out.Write(append(append(line, m.Payload...), '\n'))
	p.left--
	if err != nil {
		p.left = 0
		p.done <- fmt.Errorf("write: %w", err)
	} else if p.left == 0 {
		p.done <- nil
	}
}
