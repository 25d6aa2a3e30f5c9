package main

import (
	"context"
	"fmt"
	"slices"
)

// natsServer is what is installed when the machine has no nats-server.
const natsServer = "github.com/nats-io/nats-server/v2@v2.15.2"

// finders find or build the brokers, in the order of the table's columns. An error says why there is none.
var finders = []struct {
	name string
	find func(ctx context.Context, bin string) (*broker, error)
}{
	{ours, buildMadang},
	{kernel, buildNull},
	{"mosquitto", findMosquitto},
	{"nats", findNATS},
	{"nanomq", findNanoMQ},
	{"mochi", buildMochi},
}

// peerNames are the names of all brokers but Madang.
func peerNames() []string {
	var names []string
	for _, f := range finders[1:] {
		names = append(names, f.name)
	}
	return names
}

// find returns Madang and those of the named peers that can be had, and why the others cannot. What is built lies in bin.
// Without Madang there is nothing to compare: that is the error.
func find(ctx context.Context, bin string, peers []string) (found []*broker, missing []error, err error) {
	for _, f := range finders {
		if f.name != ours && !slices.Contains(peers, f.name) {
			continue
		}
		b, err := f.find(ctx, bin)
		switch {
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case err == nil:
			found = append(found, b)
		case f.name == ours:
			return nil, nil, err
		default:
			missing = append(missing, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	return found, missing, nil
}

func buildMadang(ctx context.Context, bin string) (*broker, error) {
	version := describe(ctx)
	program, err := build(ctx, bin, "cmd/madang", "-X main.version="+version)
	return &broker{
		name: ours, version: version, program: program,
		args: []string{
			"serve", "--dev", "--data-dir", "{dir}/data", "--set", "listeners.mqtt.bind=127.0.0.1:{port}",
			"--set", "listeners.web.bind=127.0.0.1:0", "--set", "listeners.ops.bind=127.0.0.1:0",
		},
		remark: "An acknowledged message is on the disk: every PUBACK waits for its fsync.",
	}, err
}

func buildNull(ctx context.Context, bin string) (*broker, error) {
	program, err := build(ctx, bin, "internal/peers/null", "")
	return &broker{
		name: kernel, version: "of this module", program: program, plain: true, args: []string{"127.0.0.1:{port}"},
		remark: "No broker: it sends what one read brought to everybody with one send each, so it is what the kernel costs.",
	}, err
}

func findMosquitto(ctx context.Context, _ string) (*broker, error) {
	program, err := lookUp("mosquitto")
	if err != nil {
		return nil, err
	}
	version, err := versionOf(ctx, program, "-h")
	return &broker{
		name: "mosquitto", version: version, program: program, plain: true, args: []string{"-c", "{file}"},
		config: `listener {port} 127.0.0.1
allow_anonymous true
allow_duplicate_messages true
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
persistence false
log_type error
log_type warning
`,
		remark: "Acknowledged messages are in memory only.",
	}, err
}

func findNATS(ctx context.Context, bin string) (*broker, error) {
	program, err := lookUp("nats-server")
	if err != nil {
		if program, err = install(ctx, bin, natsServer, "nats-server"); err != nil {
			return nil, fmt.Errorf("not on the PATH, and %s cannot be had: %w", natsServer, err)
		}
	}
	version, err := versionOf(ctx, program, "--version")
	return &broker{
		name: "nats", version: version, program: program, plain: true, args: []string{"-c", "{file}"},
		config: `server_name: one
host: 127.0.0.1
port: -1
max_connections: 100000
jetstream { store_dir: "{dir}/store" }
mqtt { host: 127.0.0.1, port: {port} }
`,
		remark: "Acknowledged messages are in the page cache; they are synced every two minutes.",
	}, err
}

func findNanoMQ(ctx context.Context, _ string) (*broker, error) {
	program, err := lookUp("nanomq")
	if err != nil {
		return nil, err
	}
	version, err := versionOf(ctx, program, "--version")
	return &broker{
		name: "nanomq", version: version, program: program, plain: true, args: []string{"start", "--conf", "{file}"},
		config: `listeners.tcp {
  bind = "127.0.0.1:{port}"
}
log {
  to = [console]
  level = error
}
auth {
  allow_anonymous = true
  no_match = allow
  deny_action = ignore
}
`,
		remark: "Acknowledged messages are in memory only.",
	}, err
}

func buildMochi(ctx context.Context, bin string) (*broker, error) {
	program, err := build(ctx, bin, "internal/peers/mochi", "")
	if err != nil {
		return nil, err
	}
	version, err := versionOf(ctx, program, "--version")
	return &broker{
		name: "mochi", version: version, program: program, plain: true, args: []string{"127.0.0.1:{port}"},
		remark: "Default options and the hook that allows all. Acknowledged messages are in memory only.",
	}, err
}
