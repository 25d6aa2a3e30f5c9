// Command mochi runs mochi's MQTT server with its default options: everybody may come in and do everything, nothing is
// stored, nothing is logged. It is measured beside Madang, which uses the codec of the same module.
//
// usage: mochi HOST:PORT | mochi --version
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mochi:", err)
		os.Exit(1)
	}
}

// run serves until ctx is cancelled.
func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: mochi HOST:PORT | mochi --version")
	}
	if args[0] == "--version" {
		fmt.Println("mochi", mqtt.Version)
		return nil
	}
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if err := server.AddListener(listeners.NewTCP(listeners.Config{ID: "mqtt", Address: args[0]})); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := server.Serve(); err != nil {
		return err
	}
	<-ctx.Done()
	return server.Close()
}
