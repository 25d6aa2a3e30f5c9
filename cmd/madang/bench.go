package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/internal/bench"
)

const benchHelp = `Load a broker and measure it: Madang, or with --plain any other MQTT broker.

Short flags are those of emqtt_bench. Only measure what is yours, with --pid on the machine of the broker. An interrupt
ends a run; conn and sub report what was measured by then.`

func newBenchCommand() *cobra.Command {
	cmd := newGroup("bench", "Load a broker and measure it")
	cmd.Long = benchHelp
	cmd.AddCommand(
		newBenchConnCommand(), newBenchPubCommand(), newBenchSubCommand(),
		newBenchRoomCommand(), newBenchRoomsCommand(), newBenchOfflineCommand(),
		newBenchStormCommand(), newBenchFloodCommand(),
	)
	return cmd
}

// benchFlags are those of every scenario.
type benchFlags struct {
	mqttFlags
	version   uint8
	keepAlive uint16
	prefix    string
	first     int
	from      []string
	pids      []int
	connRate  float64
	interval  int
	tls, ws   bool
	plain     bool
	json      bool
}

func (f *benchFlags) register(cmd *cobra.Command) {
	f.registerAddress(cmd)
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVarP(&f.tls, "ssl", "S", false, "use TLS")
	fl.BoolVar(&f.ws, "ws", false, "use WebSocket")
	fl.Uint8VarP(&f.version, "version", "V", 4, "MQTT `version`: 3, 4 (3.1.1) or 5")
	fl.StringVarP(&f.user, "username", "u", "", "user `name`; %i is the number of the client (default bench, with --plain none)")
	fl.StringVarP(&f.password, "password", "P", "", "`password`; %i as above")
	fl.Uint16VarP(&f.keepAlive, "keepalive", "k", 300, "keep alive in `seconds`")
	fl.StringVar(&f.prefix, "prefix", "bench-", "what client `id`s begin with; their number follows")
	fl.IntVarP(&f.first, "startnumber", "n", 0, "`number` of the first client")
	fl.StringSliceVar(&f.from, "ifaddr", nil, "local `address`es to connect from, in turn; one has some 28,000 ports")
	fl.Float64VarP(&f.connRate, "connrate", "R", 0, "connections a `second`; 0 = as fast as they are answered")
	fl.IntVarP(&f.interval, "interval", "i", 0, "`ms` between connections, instead of -R")
	fl.IntSliceVar(&f.pids, "pid", nil, "process `id`s of the broker, for its CPU time and memory")
	fl.BoolVar(&f.plain, "plain", false, "plain topics instead of Madang's rooms: for other brokers")
	fl.BoolVar(&f.json, "json", false, "print one line of JSON")
}

// broker returns what is to be measured.
func (f *benchFlags) broker() (t bench.Target, err error) {
	if f.tls || f.ws {
		if f.url != "" {
			return t, usagef("--url says how to connect: leave -S and --ws out")
		}
		scheme := map[[2]bool]string{{true, false}: "mqtts", {false, true}: "ws", {true, true}: "wss"}[[2]bool{f.tls, f.ws}]
		f.url = fmt.Sprintf("%s://%s", scheme, net.JoinHostPort(f.host, fmt.Sprint(f.port)))
	}
	u, user, password, err := f.target()
	if err != nil {
		return t, err
	}
	switch {
	case user == "" && !f.plain:
		user, password = "bench", cmp.Or(password, "bench") // a node for development takes any name
	case user == "" && password != "":
		return t, usagef("-P needs -u: there is no password without a user name")
	}
	t = bench.Target{
		Name: u.String(), Version: f.version, User: user, Password: password, KeepAlive: f.keepAlive,
		Prefix: f.prefix, First: f.first, PIDs: f.pids,
	}
	for _, s := range f.from {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return t, usagef("--ifaddr: %w", err)
		}
		t.From = append(t.From, a)
	}
	switch u.Scheme {
	case "mqtt", "tcp":
		port := cmp.Or(u.Port(), "1883")
		if _, err := fmt.Sscan(port, &t.Port); err != nil {
			return t, usagef("--url: %q is no port", port)
		}
		t.Host = u.Hostname()
	default:
		if len(t.From) > 0 {
			return t, usagef("--ifaddr is for plain TCP, not for %s", u.Scheme)
		}
		conf, err := trust(f.caFile)
		if err != nil {
			return t, err
		}
		t.Dial = func(ctx context.Context) (net.Conn, error) {
			conn, err := dial(ctx, u, conf)
			if _, plain := errors.AsType[tls.RecordHeaderError](err); plain || errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w; is it a port for %s?", err, u.Scheme)
			}
			if err != nil {
				return nil, fmt.Errorf("connect to %s: %w", u.Host, err)
			}
			return conn, nil
		}
	}
	if f.interval > 0 {
		f.connRate = 1000 / float64(f.interval)
	}
	return t, nil
}

// progress shows how a run goes, on a terminal.
func (f *benchFlags) progress(cmd *cobra.Command) (show func(string), done func()) {
	w, ok := cmd.ErrOrStderr().(*os.File)
	if !ok || !isTerminal(w) {
		return func(string) {}, func() {}
	}
	return progressLine(w)
}

// progressLine shows one text over the other; done leaves an empty line.
func progressLine(w io.Writer) (show func(string), done func()) {
	width := 0
	line := func(s string) {
		fmt.Fprintf(w, "\r%-*s", width, s)
		width = len(s)
	}
	return line, func() {
		line("")
		fmt.Fprint(w, "\r")
	}
}

// scenario is something that can be measured.
type scenario interface {
	Run(ctx context.Context) (*bench.Report, error)
}

// run measures and prints the report. progress is where the scenario says how it goes.
func (f *benchFlags) run(cmd *cobra.Command, progress *func(string), s scenario) error {
	var done func()
	*progress, done = f.progress(cmd)
	r, err := s.Run(cmd.Context())
	done()
	if o, ok := errors.AsType[*bench.OptionError](err); ok {
		return &usageError{o}
	}
	if r == nil {
		return err
	}
	r.Scenario = cmd.Name()
	write := r.Text
	if f.json {
		write = r.JSON
	}
	return errors.Join(write(cmd.OutOrStdout()), err)
}

// topicFlags are where the messages of rooms go and come from; %r is the number of the room.
type topicFlags struct{ send, read string }

func (t *topicFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.send, "send-topic", "", "`topic` to publish to, %r is the number of the room (default as --plain says)")
	cmd.Flags().StringVar(&t.read, "read-topic", "", "`filter` to subscribe to")
}

func (t *topicFlags) get(plain bool) (send, read string) {
	send, read = "chat/rooms/bench-%r/send", "chat/rooms/bench-%r/msg/+"
	if plain {
		send, read = "bench/%r", "bench/%r"
	}
	return cmp.Or(t.send, send), cmp.Or(t.read, read)
}

func room(topic string, number int) string {
	return strings.ReplaceAll(topic, "%r", fmt.Sprint(number))
}

func newBenchConnCommand() *cobra.Command {
	var f benchFlags
	o := bench.Idle{}
	cmd := &cobra.Command{
		Use: "conn", Short: "Connections that do nothing: how fast, and what one costs", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Target, err = f.broker(); err != nil {
				return err
			}
			o.ConnRate, o.QoS = f.connRate, f.qos
			return f.run(cmd, &o.Progress, &o)
		},
	}
	f.register(cmd)
	fl := cmd.Flags()
	fl.IntVarP(&o.Connections, "count", "c", 200, "`connections`")
	fl.StringVarP(&o.Filter, "topic", "t", "", "`filter` each subscribes to; %i is the number of the client (default none)")
	fl.Uint8VarP(&f.qos, "qos", "q", 0, "`QoS` of the subscription")
	fl.BoolVarP(&o.Clean, "clean", "C", true, "without a session; one stays on the broker, with -V 5 for an hour")
	fl.DurationVar(&o.Hold, "hold", 2*time.Second, "`time` before the memory is measured")
	return cmd
}

func newBenchPubCommand() *cobra.Command {
	var f benchFlags
	o := bench.Publish{}
	var interval int
	cmd := &cobra.Command{
		Use: "pub", Short: "Publishers: how many acknowledgements, and how late", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Target, err = f.broker(); err != nil {
				return err
			}
			send, _ := new(topicFlags).get(f.plain)
			o.Topic = cmp.Or(o.Topic, room(send, 0))
			o.ConnRate, o.QoS, o.Interval = f.connRate, f.qos, time.Duration(interval)*time.Millisecond
			return f.run(cmd, &o.Progress, &o)
		},
	}
	f.register(cmd)
	fl := cmd.Flags()
	fl.IntVarP(&o.Publishers, "count", "c", 1, "`publishers`")
	fl.StringVarP(&o.Topic, "topic", "t", "", "`topic`; %i is the number of the client, %c its id (default of room bench-0)")
	fl.Uint8VarP(&f.qos, "qos", "q", 1, "`QoS` 0, 1 or 2")
	fl.IntVarP(&o.InFlight, "inflight", "F", 32, "`messages` in flight of each publisher")
	fl.IntVarP(&interval, "interval_of_msg", "I", 0, "`ms` between the messages of a publisher; 0 = as fast as they are acknowledged")
	fl.IntVarP(&o.Size, "size", "s", 128, "`bytes` of a message")
	fl.StringVarP(&o.Message, "message", "m", "", "`message`, instead of one of -s bytes")
	fl.BoolVarP(&o.Retain, "retain", "r", false, "set RETAIN")
	registerTimes(cmd, &o.Warmup, &o.Duration, &o.Limit)
	return cmd
}

func newBenchSubCommand() *cobra.Command {
	var f benchFlags
	o := bench.Listen{}
	cmd := &cobra.Command{
		Use: "sub", Short: "Subscribers: what comes to them from others", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Target, err = f.broker(); err != nil {
				return err
			}
			_, read := new(topicFlags).get(f.plain)
			o.Filter = cmp.Or(o.Filter, room(read, 0))
			o.ConnRate, o.QoS = f.connRate, f.qos
			return f.run(cmd, &o.Progress, &o)
		},
	}
	f.register(cmd)
	fl := cmd.Flags()
	fl.IntVarP(&o.Subscribers, "count", "c", 200, "`subscribers`")
	fl.StringVarP(&o.Filter, "topic", "t", "", "`filter`; %i is the number of the client, %c its id (default of room bench-0)")
	fl.Uint8VarP(&f.qos, "qos", "q", 0, "`QoS` 0, 1 or 2")
	fl.BoolVarP(&o.Clean, "clean", "C", true, "without a session; one stays on the broker, with -V 5 for an hour")
	fl.DurationVarP(&o.Duration, "duration", "d", 10*time.Second, "how `long`")
	fl.Uint64VarP(&o.Limit, "limit", "L", 0, "stop after so many `messages`; 0 = never")
	return cmd
}

func registerTimes(cmd *cobra.Command, warmup, duration *time.Duration, limit *uint64) {
	fl := cmd.Flags()
	fl.DurationVarP(duration, "duration", "d", 10*time.Second, "how `long` to measure")
	fl.DurationVar(warmup, "warmup", time.Second, "`time` before that")
	fl.Uint64VarP(limit, "limit", "L", 0, "stop after so many `messages`; 0 = never")
}

// registerRooms adds the flags of room and rooms.
func registerRooms(cmd *cobra.Command, f *benchFlags, o *bench.Rooms, t *topicFlags) {
	fl := cmd.Flags()
	fl.IntVar(&o.Publishers, "publishers", 1, "`publishers`, who go round the rooms")
	fl.Uint8VarP(&f.qos, "qos", "q", 0, "`QoS` of publishing and subscribing")
	fl.IntVarP(&o.InFlight, "inflight", "F", 16, "`messages` in flight of each publisher: the next follows when one has come to all readers")
	fl.Float64Var(&o.Rate, "rate", 0, "`messages` a second over all publishers, instead of -F")
	fl.IntVarP(&o.Size, "size", "s", 128, "`bytes` of a message")
	t.register(cmd)
	registerTimes(cmd, &o.Warmup, &o.Duration, &o.Limit)
}

func (f *benchFlags) rooms(cmd *cobra.Command, o *bench.Rooms, t *topicFlags) (err error) {
	if o.Target, err = f.broker(); err != nil {
		return err
	}
	o.SendTopic, o.ReadTopic = t.get(f.plain)
	o.ConnRate, o.QoS = f.connRate, f.qos
	return f.run(cmd, &o.Progress, o)
}

func newBenchRoomCommand() *cobra.Command {
	var f benchFlags
	var t topicFlags
	o := bench.Rooms{Rooms: 1}
	cmd := &cobra.Command{
		Use: "room", Short: "One room with many readers", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.rooms(cmd, &o, &t) },
	}
	f.register(cmd)
	cmd.Flags().IntVarP(&o.Readers, "count", "c", 500, "`readers`")
	cmd.Flags().IntVar(&o.Stuck, "stuck", 0, "more `readers`, who never read")
	cmd.Flags().IntVar(&o.Slow, "slow", 0, "more `readers`: of three one never reads, one reads a byte a second, one never acknowledges")
	registerRooms(cmd, &f, &o, &t)
	return cmd
}

func newBenchRoomsCommand() *cobra.Command {
	var f benchFlags
	var t topicFlags
	o := bench.Rooms{}
	cmd := &cobra.Command{
		Use: "rooms", Short: "Many rooms with a few readers each", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.rooms(cmd, &o, &t) },
	}
	f.register(cmd)
	cmd.Flags().IntVar(&o.Rooms, "rooms", 1000, "`rooms`")
	cmd.Flags().IntVarP(&o.Readers, "count", "c", 10, "`readers` of each room")
	registerRooms(cmd, &f, &o, &t)
	return cmd
}

func newBenchOfflineCommand() *cobra.Command {
	var f benchFlags
	var t topicFlags
	o := bench.Offline{}
	cmd := &cobra.Command{
		Use: "offline", Short: "Sessions that miss messages and come back at once", Args: exactly(0),
		Long: "Sessions subscribe with QoS 1 and go, messages are published meanwhile, all sessions come back at once.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Target, err = f.broker(); err != nil {
				return err
			}
			send, read := t.get(f.plain)
			o.SendTopic, o.ReadTopic = room(send, 0), room(read, 0)
			o.ConnRate = f.connRate
			return f.run(cmd, &o.Progress, &o)
		},
	}
	f.register(cmd)
	fl := cmd.Flags()
	fl.IntVarP(&o.Sessions, "count", "c", 100, "`sessions`")
	fl.IntVarP(&o.Messages, "limit", "L", 1000, "`messages` they miss")
	fl.IntVarP(&o.InFlight, "inflight", "F", 32, "`messages` in flight of the publisher")
	fl.IntVarP(&o.Size, "size", "s", 128, "`bytes` of a message")
	fl.IntVar(&o.Live, "live", 0, "`readers` who stay, and get messages all the while")
	fl.Float64Var(&o.LiveRate, "rate", 100, "`messages` a second for those")
	fl.DurationVar(&o.LiveTime, "live-time", 3*time.Second, "`time` to look at them before the others come back")
	t.register(cmd)
	return cmd
}
