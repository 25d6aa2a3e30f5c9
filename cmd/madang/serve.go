package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/internal/app"
	"github.com/madang-chat/madang/internal/config"
)

// stopTime bounds a polite end, so that with raft's last second it takes less than ten; systemd's TimeoutStopSec is longer.
const (
	stopTime   = 8 * time.Second
	failedTime = time.Second // of a node that cannot go on: there is little that it could still do
	stopMore   = 1500 * time.Millisecond
)

func newServeCommand() *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long:  serveHelp(),
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.loadValid()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), &f, c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.registerServe(cmd)
	return cmd
}

// serve runs a node until ctx ends or it cannot go on.
func serve(ctx context.Context, f *configFlags, c *config.Config, stdout, stderr io.Writer) error {
	level := new(slog.LevelVar)
	setLevel(level, c)
	log := newLogger(c, level, stderr)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anybody can read whom to send it to
	defer signal.Stop(hup)
	pid, err := writePidFile(c.Node.PidFile)
	if err != nil {
		return err
	}
	defer pid.remove()
	a, err := app.New(c, app.Options{Logger: log, Version: buildInfo().version})
	if err != nil {
		pid.giveBack()
		return err
	}
	a.Start()
	for _, w := range c.Warnings() {
		log.Warn("about the configuration", "warning", w)
	}
	banner(stdout, c, a)
	n := newNotifier(log)
	err = n.run(ctx, a, func() { reload(f, c, a, level, log) }, hup)
	n.stopping()
	if err != nil {
		if late := stop(a, failedTime); late != nil {
			log.Warn("not everything ended in order", "err", late)
		}
		return err
	}
	return stop(a, stopTime)
}

// stop takes a node down and waits for it, but not much longer than that: what waits for a disk that has failed may never
// end, and the process is to.
func stop(a *app.App, polite time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), polite)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.Stop(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(polite + stopMore):
		return errors.New("the node did not stop in time")
	}
}

// reload reads the configuration again and takes over what may change while running; a bad one changes nothing.
func reload(f *configFlags, running *config.Config, a *app.App, level *slog.LevelVar, log *slog.Logger) {
	c, err := f.loadValid()
	if err != nil {
		log.Error("the configuration is not taken over; the old one stays", "err", err)
		return
	}
	if _, restart := config.Changed(running, c); len(restart) > 0 {
		names := make([]string, len(restart))
		for i, k := range restart {
			names[i] = k.Name
		}
		log.Warn("changed keys that take effect with the next start", "keys", strings.Join(names, " "))
	}
	setLevel(level, c)
	a.ReloadLimits(c)
	if err := errors.Join(a.Reload(), a.ReloadHooks(c)); err != nil {
		log.Error("not everything was taken over; what failed stays as it was", "err", err)
		return
	}
	log.Info("configuration taken over")
}

// setLevel makes log.level the least level that is logged.
func setLevel(level *slog.LevelVar, c *config.Config) {
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		level.Set(slog.LevelInfo) // cannot be: the configuration has been checked
	}
}

// serveHelp is the text of `madang serve --help`, the keys of the configuration included.
func serveHelp() string {
	var b strings.Builder
	b.WriteString("Run a node until SIGTERM. SIGHUP reads the configuration again.\n\n" +
		"A value comes from --set, else the environment (MADANG_LISTENERS__MQTT__BIND), else the file,\n" +
		"else the defaults of --dev, else the default.\n")
	if err := config.WriteKeys(&b); err != nil {
		return err.Error()
	}
	return b.String()
}
