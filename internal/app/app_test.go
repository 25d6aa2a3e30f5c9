package app_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/madang-chat/madang/internal/app"
	"github.com/madang-chat/madang/internal/config"
)

const patience = 30 * time.Second

func load(t *testing.T, set ...string) *config.Config {
	t.Helper()
	c, err := config.Load(config.Options{Dev: true, Set: append([]string{
		"node.name=one", "node.data_dir=" + t.TempDir(), "listeners.mqtt.bind=127.0.0.1:0", "listeners.web.bind=127.0.0.1:0",
		"listeners.ops.bind=127.0.0.1:0",
	}, set...)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func options() app.Options {
	return app.Options{Logger: slog.New(slog.DiscardHandler), Version: "test"}
}

func stop(t *testing.T, a *app.App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// A node that cannot be made leaves nothing behind: no goroutine, no port, and the data can be used by the next.
func TestNewLeavesNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	c := load(t)
	c.Listeners.Ops.Bind = busy.Addr().String() // the last port that is opened
	if _, err := app.New(c, options()); err == nil || !strings.Contains(err.Error(), "listeners.ops.bind") {
		t.Fatalf("a busy port: %v", err)
	}
	c.Listeners.Ops.Bind = "127.0.0.1:0"
	a, err := app.New(c, options())
	if err != nil {
		t.Fatalf("after a failed start: %v", err)
	}
	stop(t, a)
}

// A node may be stopped at any moment, more than once, and nothing of it runs afterwards.
func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(*app.App)
	}{
		{"before the start", func(*app.App) {}},
		{"at the start", func(a *app.App) { a.Start() }},
		{"when ready", func(a *app.App) {
			a.Start()
			select {
			case <-a.Ready():
			case <-time.After(patience):
				t.Error("the node is not ready")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			a, err := app.New(load(t), options())
			if err != nil {
				t.Fatal(err)
			}
			addr := a.Addr("mqtt")
			tt.before(a)
			stop(t, a)
			stop(t, a)
			if conn, err := net.Dial("tcp", addr); err == nil {
				conn.Close()
				t.Error("the port is open after the end")
			}
		})
	}
}

// Two nodes do not share their data.
func TestDataIsLocked(t *testing.T) {
	c := load(t)
	a, err := app.New(c, options())
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, a)
	if _, err := app.New(c, options()); err == nil || !strings.Contains(err.Error(), "is in use by another madang") {
		t.Errorf("the second: %v", err)
	}
}
