package broker

import (
	"errors"
	"time"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/internal/clock"
)

// arrival is a connection before it is a client. Over plain TCP it waits for its CONNECT, and in line for its turn, without
// a goroutine, a stack or a buffer: the CONNECT stays with the kernel.
type arrival struct {
	b     *Broker
	conn  *transport.Conn
	pr    *transport.PacketReader
	asked bool  // whether it is its turn was settled before the CONNECT was read
	err   error // why it is not
}

// first takes a place in line for a client whose whole CONNECT is there. One that sends it in pieces is read first, lest it
// keep others waiting. It does not block.
func (a *arrival) first(head []byte, start func()) {
	if !wholeConnect(head) {
		start()
		return
	}
	settle := func(err error) {
		a.asked, a.err = true, err
		start()
	}
	if err := a.b.admit(a.conn.Client()); err != nil {
		settle(err)
		return
	}
	a.b.admission.ask(settle)
}

// wholeConnect says whether b begins with a CONNECT of which nothing is missing.
func wholeConnect(b []byte) bool {
	return b[0]&typeMask == typeConnect && transport.Whole(b)
}

// serve is a transport.Handler.
func (a *arrival) serve(*transport.Conn) transport.Handler {
	if a.asked { // the line has taken its time
		_ = a.conn.SetReadDeadline(clock.Now().Add(a.b.limits().ConnectTimeout))
	}
	c := a.enter()
	if c == nil {
		return nil
	}
	return a.b.welcome(c, a.pr)
}

// enter makes a client of the connection. Its turn, if it had one, is over then.
func (a *arrival) enter() *client {
	defer func() {
		if a.asked && a.err == nil {
			a.b.admission.leave()
		}
	}()
	return a.b.connect(a)
}

// takeTurn returns when a CONNECT that has been read may be worked on, or why it will not be.
func (a *arrival) takeTurn() error {
	b := a.b
	if !a.asked {
		a.asked = true
		if a.err = b.admit(a.conn.Client()); a.err == nil {
			a.err = b.admission.enter(b.ctx)
		}
	}
	switch {
	case a.err == nil && a.conn.Left():
		return errLeft
	case a.err == nil:
		return nil
	case b.ctx.Err() != nil:
		return &refusal{v5: reasonShuttingDown, v3: v3Unavailable, why: "the node is shutting down"}
	case errors.Is(a.err, errLineLong) && !b.admission.isOpen():
		return &refusal{v5: reasonBusy, v3: v3Unavailable, why: "the node is not ready; try again in a few seconds"}
	case errors.Is(a.err, errLineLong), errors.Is(a.err, errLineFull):
		return &refusal{
			v5: reasonServerBusy, v3: v3Unavailable, hasty: true, limit: limit.ConnectQueue,
			why: "too many connect at once; try again in " + b.admission.after().Round(time.Second).String(),
		}
	}
	return a.err
}
