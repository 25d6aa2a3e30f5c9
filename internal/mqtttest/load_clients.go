package mqtttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/clock"
)

func (s *sender) run(t testing.TB) {
	deadline := clock.Now().Add(time.Hour)
	for node := s.home; clock.Now().Before(deadline); node++ {
		s.age = s.l.now()
		c, err := TryDial(t, s.l.node(node), s.o)
		if err == nil {
			err = s.talk(c)
			for len(s.open) > 0 && c.Answered(s.pid(s.open[0].n)) { // what came before the end counts
				if s.settle(c) != nil {
					break
				}
			}
			c.Cut()
		}
		if err == nil { // nothing is open, and nothing more is to be sent
			return
		}
		select {
		case <-time.After(loadComes):
		case <-s.l.done:
			return
		}
		if s.l.ended(s.l.stop) {
			deadline = min2(deadline, clock.Now().Add(loadSettles))
		}
	}
}

func min2(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// talk returns nil at the end of all.
func (s *sender) talk(c *Client) error {
	for i := range s.open {
		if err := s.send(c, &s.open[i]); err != nil {
			return err
		}
	}
	for {
		stopped := s.l.ended(s.l.stop)
		for len(s.open) < s.l.o.Window && !stopped {
			s.l.mu.Lock()
			s.open = append(s.open, openMessage{n: s.made})
			s.made++
			s.l.mu.Unlock()
			if err := s.send(c, &s.open[len(s.open)-1]); err != nil {
				return err
			}
			if s.l.o.Every > 0 {
				break
			}
		}
		if len(s.open) == 0 {
			return nil
		}
		if err := s.settle(c); err != nil {
			return err
		}
		if s.l.o.Every > 0 {
			s.l.wait(s.l.stop, s.l.o.Every)
		}
	}
}

// settle waits for the acknowledgement of the oldest message.
func (s *sender) settle(c *Client) error {
	m := &s.open[0]
	ack, err := c.Answer(packets.Puback, s.pid(m.n))
	if err != nil {
		return err
	}
	if ack.ReasonCode >= 0x80 {
		err := fmt.Errorf("%s: message %d refused: %#x %s", s.user, m.n, ack.ReasonCode, ack.Properties.ReasonString)
		s.l.failed("%w", err)
		return err
	}
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if s.l.ghost(s.age) {
		return errFrozen
	}
	s.l.acknowledged()
	s.acked = append(s.acked, m.n)
	s.open = slices.Delete(s.open, 0, 1)
	return nil
}

func (s *sender) pid(n int) uint16 { return uint16(n%60_000) + 1 }

func (s *sender) send(c *Client, m *openMessage) error {
	body := fmt.Sprintf(`{"data":{"text":"%d"}}`, m.n)
	if s.cid {
		body = fmt.Sprintf(`{"cid":"c%d","data":{"text":"%d"}}`, m.n, m.n)
	}
	pk := Message("chat/rooms/"+s.l.o.Room+"/send", body, 1)
	pk.PacketID, pk.FixedHeader.Dup = s.pid(m.n), m.sent
	m.sent = true
	_, err := c.Send(pk)
	return err
}

func (r *follower) run(t testing.TB) {
	for node := r.home; ; node++ {
		r.age = r.l.now()
		c, err := TryDial(t, r.l.node(node), r.o)
		if err == nil {
			if !c.Connack.SessionPresent && r.l.believes(r.age) {
				r.l.failed("%s: the session is gone", r.o.User)
				return
			}
			r.read(c)
			c.Cut()
		}
		if !r.l.wait(r.l.done, loadComes) {
			return
		}
	}
}

// read takes what comes until the connection ends, or is silent.
func (r *follower) read(c *Client) {
	for next := uint64(0); !r.l.ended(r.l.done); {
		pk, err := c.TryNext()
		if err != nil {
			return
		}
		var e struct {
			Seq  uint64
			From struct{ User string }
			Data struct{ Text string }
		}
		if err := json.Unmarshal(pk.Payload, &e); err != nil {
			r.l.failed("%s: %s carries %q: %w", r.o.User, pk.TopicName, pk.Payload, err)
			return
		}
		number, err := strconv.Atoi(e.Data.Text)
		if err != nil {
			r.l.failed("%s: %s carries %q: %w", r.o.User, pk.TopicName, pk.Payload, err)
			return
		}
		if r.l.believes(r.age) && (next == 0 && e.Seq > r.last+1 || next != 0 && e.Seq != next) {
			r.l.failed("%s: entry %d came after %d (on the connection before: %d)", r.o.User, e.Seq, next-1, r.last)
			return
		}
		next = e.Seq + 1
		r.l.mu.Lock()
		switch {
		case r.l.ghost(r.age):
			r.l.mu.Unlock()
			return
		case e.Seq == r.last+1:
			r.last, r.got, r.came = e.Seq, append(r.got, pk.Payload), clock.Now()
			if r.has[e.From.User] == nil {
				r.has[e.From.User] = map[int]bool{}
			}
			r.has[e.From.User][number] = true
		case !bytes.Equal(r.got[e.Seq-1], pk.Payload):
			r.l.fault = errors.Join(r.l.fault, fmt.Errorf("%s: entry %d changed from %s to %s", r.o.User, e.Seq, r.got[e.Seq-1], pk.Payload))
		}
		r.l.mu.Unlock()
		if c.Ack(pk.PacketID) != nil {
			return
		}
	}
}
