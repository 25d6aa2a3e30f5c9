package bench

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

const (
	floodID    = 7        // packet id of all messages of a flood
	floodChunk = 64 << 10 // bytes that wait for the socket of a flood
	stormStep  = 16       // connections ended or made before answers are looked at
)

// mob is the hostile clients of a run of Hostile. Sessions have the numbers from 0, floods follow.
type mob struct {
	*crowd
	o        *Hostile
	raging   bool
	began    int64 // when, last
	ended    int64 // when all were back, last
	sessions []*conn
	floods   []*conn
	cut      []*conn      // sessions whose connection is to be ended, all before the first comes back
	again    []*conn      // whose connection has ended and is to be made again
	back     atomic.Int64 // sessions that are there again; read without mu, which is held for long in a storm
	present  int          // of them, those the broker knew
	refusals uint64
	why      string // of the first
	flood    []byte
	acks     uint64
}

// newMob connects the sessions. Its client numbers follow those of readers and publishers.
func newMob(ctx context.Context, o *Hostile) (*mob, error) {
	target := o.Target // its own: each loop counts what it has dialled
	if o.At.Host != "" {
		target.Host, target.Port = o.At.Host, o.At.Port
	}
	c, err := newCrowd(ctx, &target, o.Progress)
	if err != nil {
		return nil, err
	}
	m := &mob{crowd: c, o: o}
	first := o.Readers + o.Publishers
	for i := range o.Sessions {
		n := first + i
		m.sessions = append(m.sessions, &conn{ev: m, login: o.login(n, false), number: i, sub: subscription{o.expand(o.SessionTopic, n), 1}})
	}
	for i := range o.Floods {
		n := o.Sessions + i
		m.floods = append(m.floods, &conn{ev: m, login: o.login(first+n, true), number: n, state: ended})
	}
	one := appendPublish(nil, o.Version, o.FloodTopic, []byte(o.FloodMessage), 1, floodID, false)
	for len(m.flood) < floodChunk {
		m.flood = append(m.flood, one...)
	}
	if err := m.connect(ctx, m.sessions, 0); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// start looks after the connections until stop has returned. What it returns ends, with the cause, when that fails.
func (m *mob) start(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.run(ctx); err != nil {
			cancel(err)
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

func (m *mob) run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait, err := longWait, error(nil)
		m.locked(func() {
			if err = m.step(); len(m.cut)+len(m.again) > 0 {
				wait = 0
			}
		})
		if err != nil {
			return err
		}
		if err := m.poll(wait); err != nil {
			return err
		}
	}
	return nil
}

// rage has all sessions cut, and lets the floods come.
func (m *mob) rage() {
	m.locked(func() {
		m.raging, m.present, m.began = true, 0, m.tick()
		m.ended = m.began
		m.back.Store(0)
		m.cut = slices.Clone(m.sessions)
		for i, c := range m.floods {
			m.floods[i] = m.anew(c)
		}
	})
	m.wake()
}

// allBack says whether all sessions are there again. It does not wait for the mob.
func (m *mob) allBack() bool { return m.back.Load() == int64(len(m.sessions)) }

// rest ends the floods, and returns how long the sessions took to be back.
func (m *mob) rest() (took time.Duration) {
	m.locked(func() {
		m.raging, m.cut, m.again = false, nil, nil
		for _, c := range m.floods {
			c.close()
		}
		took = time.Duration(m.ended - m.began)
	})
	return took
}

// anew makes another connection of a client.
func (m *mob) anew(c *conn) *conn {
	n := &conn{ev: m, login: c.login, sub: c.sub, number: c.number}
	m.again = append(m.again, n)
	return n
}

// step ends some of the connections that are to be ended, or makes some of those that are to be made, and feeds the floods.
func (m *mob) step() error {
	if m.endedWhy != nil {
		return m.endedWhy
	}
	if !m.raging {
		return nil
	}
	n := min(len(m.cut), stormStep)
	for _, c := range m.cut[:n] {
		c.close()
		m.sessions[c.number] = m.anew(c)
	}
	if m.cut = m.cut[n:]; len(m.cut) > 0 {
		return nil
	}
	again := m.again[:min(len(m.again), stormStep)]
	m.again = m.again[len(again):]
	for _, c := range again {
		if err := m.crowd.start(c, m.target); err != nil {
			return err
		}
		if i := c.number - len(m.sessions); i >= 0 {
			m.floods[i] = c
		} else {
			m.sessions[c.number] = c
		}
	}
	for _, c := range m.floods {
		if c.state == running && c.backlog() == 0 {
			c.send(m.flood)
		}
	}
	return nil
}

func (m *mob) acked(*conn, uint16, byte) { m.acks++ }

func (m *mob) up(c *conn) {
	m.crowd.up(c)
	if !m.raging || c.number >= len(m.sessions) {
		return
	}
	m.back.Add(1)
	m.ended = m.now
	if c.present {
		m.present++
	}
}

func (m *mob) down(c *conn, err error) {
	if !m.raging {
		m.crowd.down(c, err)
		return
	}
	m.refusals++
	if m.why == "" {
		m.why = err.Error()
	}
	m.anew(c)
}

// String says how far a storm is.
func (m *mob) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%d of %d are back; %s", m.back.Load(), len(m.sessions), m.why)
}

// report adds what became of the hostile clients.
func (m *mob) report(rep *Report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := &m.o.At; at.Host != "" {
		rep.HostileAt = net.JoinHostPort(at.Host, fmt.Sprint(at.Port))
	}
	rep.Attempts, rep.AttemptsWhy, rep.FloodAcked, rep.SessionsPresent = m.refusals, m.why, m.acks, m.present
}

var _ events = (*mob)(nil)
