package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// startTime is how long a broker may take until it answers.
const startTime = 30 * time.Second

// ready waits until the broker takes an MQTT client: an open port alone does not say that it is done with starting.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := greet(ctx, p.port)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-p.ended:
			return p.gone()
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("the broker took no client within %v of its start: %w", startTime, err)
			}
			return ctx.Err()
		}
	}
}

// A client of MQTT 3.1.1 without a user name, with a clean session and 60 s of keep alive.
const (
	connect    = "\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05ready"
	accepted   = "\x20\x02\x00\x00"
	disconnect = "\xe0\x00"
)

// greet connects as a client and leaves.
func greet(ctx context.Context, port int) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, connect); err != nil {
		return err
	}
	connack := make([]byte, len(accepted))
	if _, err := io.ReadFull(conn, connack); err != nil {
		return err
	}
	if string(connack) != accepted {
		return fmt.Errorf("it answered CONNECT with % x", connack)
	}
	_, err = io.WriteString(conn, disconnect)
	return err
}
