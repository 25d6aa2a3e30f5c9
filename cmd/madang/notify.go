package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/madang-chat/madang/internal/app"
)

// notifier tells systemd how the node is: READY as soon as the ports are open, since a node without a quorum is no reason
// to kill it; then a line of status, and the watchdog's heartbeat while the node's log is sound. It keeps its socket: a
// node whose descriptors are all taken by clients would miss the heartbeat, and be killed for it, if it had to open one.
// It is used by one goroutine.
type notifier struct {
	log   *slog.Logger
	every time.Duration // 0 = no watchdog
	conn  *net.UnixConn // nil without systemd, or after a failure
}

const statusEvery = 10 * time.Second

func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{log: log}
	if d, err := daemon.SdWatchdogEnabled(false); err == nil && d > 0 {
		n.every = d / 2
	}
	return n
}

// tell sends lines to systemd. A socket that fails is opened anew, once; it does so after systemd was replaced.
func (n *notifier) tell(state string) {
	to := os.Getenv("NOTIFY_SOCKET")
	if to == "" {
		return
	}
	err := n.write(state)
	if err != nil {
		n.close()
		if n.conn, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: to, Net: "unixgram"}); err == nil {
			err = n.write(state)
		}
	}
	if err != nil {
		n.log.Warn("systemd is not told", "state", state, "err", err)
	}
}

func (n *notifier) write(state string) error {
	if n.conn == nil {
		return net.ErrClosed
	}
	_, err := n.conn.Write([]byte(state))
	return err
}

func (n *notifier) close() {
	if n.conn != nil {
		n.conn.Close()
		n.conn = nil
	}
}

// run serves until ctx ends or the node fails.
func (n *notifier) run(ctx context.Context, a *app.App, reload func(), hup <-chan os.Signal) error {
	n.tell(daemon.SdNotifyReady + "\nSTATUS=starting")
	status := time.NewTicker(statusEvery)
	defer status.Stop()
	var beat <-chan time.Time
	if n.every > 0 {
		t := time.NewTicker(n.every)
		defer t.Stop()
		beat = t.C
	}
	ready := a.Ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-a.Failed():
			return err
		case <-ready:
			ready = nil
			n.status(a)
		case <-hup:
			n.tell(daemon.SdNotifyReloading + fmt.Sprintf("\nMONOTONIC_USEC=%d", monotonicMicros()))
			reload()
			n.tell(daemon.SdNotifyReady)
		case <-status.C:
			n.status(a)
		case <-beat:
			n.tell(daemon.SdNotifyWatchdog)
		}
	}
}

func (n *notifier) status(a *app.App) {
	st := a.Cluster()
	n.tell(fmt.Sprintf("STATUS=%s, leader %q, %d connections, applied %d", st.Role, st.Leader, a.Broker().Connections(), st.Applied))
}

// stopping is the last that is told.
func (n *notifier) stopping() {
	n.tell(daemon.SdNotifyStopping)
	n.close()
}
