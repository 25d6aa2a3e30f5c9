package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"
)

const maxLine = 16 << 20 // bytes of one line of stdin, as limits.packet

func newPubCommand() *cobra.Command {
	var f mqttFlags
	var topic, message, cid string
	var lines, verbose bool
	cmd := &cobra.Command{
		Use:   "pub -t TOPIC (-m MESSAGE | -l)",
		Short: "Publish messages",
		Long: "Publish one message, or each line of stdin, and wait for each acknowledgement.\n" +
			"The exit code is 1 when one is refused; the reason goes to stderr.\n" + tokenHelp,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch given := cmd.Flags().Changed("message"); {
			case topic == "":
				return usagef("no topic: give -t")
			case given == lines:
				return usagef("give either -m or -l")
			case lines && cid != "":
				return usagef("--cid names one message; it does not go with -l")
			}
			ctx := cmd.Context()
			l, err := f.connect(ctx, 0, nil)
			if err != nil {
				return err
			}
			defer l.close()
			send := func(payload []byte) error {
				p := &paho.Publish{Topic: topic, QoS: f.qos, Payload: payload, Properties: &paho.PublishProperties{}}
				if cid != "" {
					p.Properties.User.Add("cid", cid)
				}
				return publish(cmd, l, p, verbose)
			}
			if !lines {
				return send([]byte(message))
			}
			return eachLine(ctx, cmd.InOrStdin(), send)
		},
	}
	f.register(cmd)
	cmd.Flags().StringVarP(&topic, "topic", "t", "", "`topic`")
	cmd.Flags().StringVarP(&message, "message", "m", "", "`message` to send")
	cmd.Flags().BoolVarP(&lines, "stdin-line", "l", false, "send each line of stdin as a message")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the seq of each message (QoS 1)")
	cmd.Flags().StringVar(&cid, "cid", "", "`id` of the message: sent twice with the same, it is there once")
	return cmd
}

// publish sends one message and waits for its acknowledgement.
func publish(cmd *cobra.Command, l *link, p *paho.Publish, verbose bool) error {
	resp, err := l.client.Publish(l.ctx, p)
	if resp != nil && resp.ReasonCode >= 0x80 {
		text := ""
		if resp.Properties != nil {
			text = resp.Properties.ReasonString
		}
		return fmt.Errorf("refused: %s", reason(resp.ReasonCode, text))
	}
	if err != nil {
		return l.explain(err)
	}
	if verbose && resp != nil && resp.Properties != nil {
		if seq := resp.Properties.User.Get("seq"); seq != "" {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), seq)
		}
	}
	return err
}

// eachLine calls do with every line of in, without its end, until one fails or ctx ends.
func eachLine(ctx context.Context, in io.Reader, do func([]byte) error) error {
	s := bufio.NewScanner(input{ctx, in})
	s.Buffer(nil, maxLine)
	for n := 1; s.Scan(); n++ {
		if err := do(s.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a line of stdin is longer than %d bytes", maxLine)
	}
	return s.Err()
}
