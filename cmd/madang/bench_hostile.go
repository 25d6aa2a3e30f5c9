package main

import (
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/internal/bench"
)

type hostileFlags struct {
	benchFlags
	at string
}

func newBenchStormCommand() *cobra.Command {
	var f hostileFlags
	o := bench.Hostile{}
	cmd := &cobra.Command{
		Use: "storm", Short: "Sessions that all come back at one moment, beside readers", Args: exactly(0),
		Long: "Stored sessions lose their connections at one moment and come back at once and without back-off, while others read.",
		RunE: func(cmd *cobra.Command, _ []string) error { return f.hostile(cmd, &o) },
	}
	registerHostile(cmd, &f, &o)
	cmd.Flags().IntVar(&o.Sessions, "sessions", 10000, "`sessions` that come back")
	cmd.Flags().IntVar(&o.Turns, "turns", 1, "how `often`")
	return cmd
}

func newBenchFloodCommand() *cobra.Command {
	var f hostileFlags
	o := bench.Hostile{}
	cmd := &cobra.Command{
		Use: "flood", Short: "Clients that send the same message for ever, beside readers", Args: exactly(0),
		Long: "Clients send one message over and over as fast as their sockets take it, and come back at once, while others read.",
		RunE: func(cmd *cobra.Command, _ []string) error { return f.hostile(cmd, &o) },
	}
	registerHostile(cmd, &f, &o)
	cmd.Flags().IntVar(&o.Floods, "floods", 1, "`clients` that flood")
	cmd.Flags().IntVar(&o.Turns, "turns", 5, "how `often`, alone and beside the flood in turn")
	cmd.Flags().StringVarP(&o.FloodTopic, "topic", "t", "", "`topic` of the flood (default of room bench-1)")
	cmd.Flags().StringVarP(&o.FloodMessage, "message", "m", `{"cid":"again","data":{"text":"again"}}`, "`message` of the flood")
	return cmd
}

func registerHostile(cmd *cobra.Command, f *hostileFlags, o *bench.Hostile) {
	f.register(cmd)
	fl := cmd.Flags()
	fl.IntVarP(&o.Readers, "count", "c", 50, "`readers`")
	fl.IntVar(&o.Publishers, "publishers", 10, "`publishers`")
	fl.Float64Var(&o.Rate, "rate", 200, "`messages` a second over all publishers")
	fl.IntVarP(&o.Size, "size", "s", 128, "`bytes` of a message")
	fl.DurationVarP(&o.Each, "duration", "d", 2*time.Second, "how `long` each time")
	fl.StringVar(&f.at, "at", "", "`host:port` of another broker, for the hostile clients: what others have then is the machine's doing")
}

func (f *hostileFlags) hostile(cmd *cobra.Command, o *bench.Hostile) (err error) {
	if f.user == "" {
		f.user, f.password = "bench-%i", "bench" // each has limits of its own
	}
	if f.url != "" || f.tls || f.ws {
		return usagef("%s measures over plain TCP: -h and -p say where", cmd.Name())
	}
	if o.Target, err = f.broker(); err != nil {
		return err
	}
	if f.at != "" {
		host, number, err := net.SplitHostPort(f.at)
		port, bad := strconv.ParseUint(number, 10, 16)
		if err != nil || bad != nil || host == "" || port == 0 {
			return usagef("--at: %q is not host:port", f.at)
		}
		o.At.Host, o.At.Port = host, uint16(port)
	}
	send, read := new(topicFlags).get(f.plain)
	o.SendTopic, o.ReadTopic = room(send, 0), room(read, 0)
	o.SessionTopic = room(read, 2)
	if o.FloodTopic == "" {
		o.FloodTopic = room(send, 1)
	}
	return f.run(cmd, &o.Progress, o)
}
