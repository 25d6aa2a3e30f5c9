package cluster

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLogTime(t *testing.T) {
	const (
		s    = time.Second
		mins = time.Minute
		h    = time.Hour
		t0   = 1000 * h // some log time
	)
	// Each step moves mono by pass and the wall clock by pass plus step, then reads log time.
	type step struct {
		pass, step time.Duration
		want       time.Duration // log time, since t0
		event      timeEvent
		held       bool
	}
	for _, tc := range []struct {
		name     string
		last     time.Duration // log time of the last applied entry, since t0
		wall     time.Duration // wall clock at the start, since t0
		fullStop bool
		event    timeEvent
		steps    []step
	}{
		{
			name: "follows a wall clock that agrees",
			steps: []step{
				{pass: s, want: s},
				{pass: h, want: h + s},
			},
		},
		{
			name: "up to 10 s ahead at once",
			steps: []step{
				{pass: s, step: 10 * s, want: 11 * s},
				{pass: s, want: 12 * s},
			},
		},
		{
			name: "a larger step is believed after 10 minutes and holds what destroys",
			steps: []step{
				{pass: s, step: h, want: s, event: timeAhead},
				{pass: 9 * mins, want: 9*mins + s},
				{pass: 59 * s, want: 10 * mins},
				{pass: s, want: h + 10*mins + s, event: timeJumped, held: true},
				{pass: 59 * mins, want: h + 69*mins + s, held: true},
				{pass: mins, want: h + 70*mins + s},
			},
		},
		{
			name: "a large step of less than a minute holds nothing",
			steps: []step{
				{pass: s, step: 30 * s, want: s, event: timeAhead},
				{pass: 10 * mins, want: 10*mins + 31*s, event: timeJumped},
			},
		},
		{
			name: "a step that is taken back is never seen",
			steps: []step{
				{pass: s, step: h, want: s, event: timeAhead},
				{pass: 5 * mins, step: -h, want: 5*mins + s},
				{pass: 10 * mins, want: 15*mins + s},
			},
		},
		{
			name: "another step starts the patience again",
			steps: []step{
				{pass: s, step: h, want: s, event: timeAhead},
				{pass: 9 * mins, step: h, want: 9*mins + s, event: timeAhead},
				{pass: 2 * mins, want: 11*mins + s},
				{pass: 8 * mins, want: 2*h + 19*mins + s, event: timeJumped, held: true},
			},
		},
		{
			name: "a backward step is slewed at 10 %",
			steps: []step{
				{pass: 0, step: -6 * s, want: 0},
				{pass: 10 * s, want: 9 * s},
				{pass: 40 * s, want: 45 * s},
				{pass: 10 * s, want: 54 * s}, // caught up: 60 s passed, 6 s given back
				{pass: 10 * s, want: 64 * s},
			},
		},
		{
			name: "a large backward step is reported once",
			steps: []step{
				{pass: s, step: -h, want: s - s/10, event: timeBehind},
				{pass: 10 * s, want: 9*s + 9*s/10},
			},
		},
		{
			name: "after a full stop time has passed", last: 0, wall: 5 * s, fullStop: true,
			steps: []step{{pass: s, want: 6 * s}},
		},
		{
			name: "after a long full stop what destroys is held", last: 0, wall: 48 * h, fullStop: true, event: timeJumped,
			steps: []step{
				{pass: s, want: 48*h + s, held: true},
				{pass: h, want: 49*h + s},
			},
		},
		{
			name: "after a full stop a wall clock that is behind does not turn time back", last: 0, wall: -h, fullStop: true,
			steps: []step{{pass: 10 * s, want: 9 * s, event: timeBehind}},
		},
		{
			name: "a new leader of a running cluster does not believe its own clock", last: 0, wall: h,
			steps: []step{{pass: s, want: s, event: timeAhead}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l logTime
			mono, wall := 7*h, t0+tc.wall
			l.start(t0+tc.last, mono)
			if ev := l.resume(t0+tc.last, wall, mono, tc.fullStop); ev != tc.event {
				t.Fatalf("resume: event %d, want %d", ev, tc.event)
			}
			for i, st := range tc.steps {
				mono += st.pass
				wall += st.pass + st.step
				got, ev := l.now(wall, mono)
				if got-t0 != st.want || ev != st.event || l.destructionHeld(mono) != st.held {
					t.Fatalf("step %d: log time %v, event %d, held %v; want %v, %d, %v",
						i, got-t0, ev, l.destructionHeld(mono), st.want, st.event, st.held)
				}
			}
		})
	}
}

func TestLogTimeOfFreshNodeIsTheWallClock(t *testing.T) {
	var l logTime
	l.start(0, 0)
	if ev := l.resume(0, 1e6*time.Hour, 0, true); ev != timeQuiet {
		t.Fatalf("event %d", ev)
	}
	if got, _ := l.now(1e6*time.Hour, 0); got != 1e6*time.Hour || l.destructionHeld(0) {
		t.Fatalf("log time %v, held %v", got, l.destructionHeld(0))
	}
}

func TestFollowerContinuesFromAppliedTime(t *testing.T) {
	var l logTime
	l.start(time.Hour, 0)
	l.now(2*time.Hour, time.Second)
	l.observe(90*time.Minute, 10*time.Second)
	if ev := l.resume(90*time.Minute, 3*time.Hour, 15*time.Second, false); ev != timeQuiet {
		t.Fatalf("event %d", ev)
	}
	if got, _ := l.now(90*time.Minute, 15*time.Second); got != 90*time.Minute+5*time.Second {
		t.Fatalf("log time %v", got)
	}
}

func TestLogTimeNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l logTime
		wall, mono := time.Duration(rapid.Int64Range(0, 1e18).Draw(t, "wall")), time.Duration(0)
		last := time.Duration(rapid.Int64Range(0, 1e18).Draw(t, "last"))
		l.start(last, mono)
		l.resume(last, wall, mono, rapid.Bool().Draw(t, "fullStop"))
		last = l.at
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			pass := time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "pass"))
			mono += pass
			wall += pass + time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "step"))
			before := last
			got, ev := l.now(wall, mono)
			if got < before {
				t.Fatalf("log time went back from %v to %v", before, got)
			}
			if ev != timeJumped && got-before > pass+stepAtOnce {
				t.Fatalf("log time ran %v in %v", got-before, pass)
			}
			last = got
		}
	})
}

// A node that follows runs on between the entries it applies, is drawn to a wall clock that is a little ahead, and leaves it
// to the leader to believe any other.
func TestFollowerRunsOnBetweenEntries(t *testing.T) {
	const s = time.Second
	var l logTime
	l.start(time.Hour, 0)
	l.observe(2*time.Hour, s)
	for i, st := range []struct{ wall, mono, want time.Duration }{
		{2*time.Hour + 3*s, 4 * s, 3 * s},                       // both ran on
		{2*time.Hour + 12*s, 5 * s, 12 * s},                     // 8 s ahead
		{2*time.Hour - time.Minute, 7 * s, 14 * s},              // behind
		{3 * time.Hour, 8 * s, 15 * s},                          // far ahead,
		{4 * time.Hour, time.Hour + 8*s, time.Hour + 15*s},      // for an hour
		{3*time.Hour + 20*s, time.Hour + 8*s, time.Hour + 20*s}, // and right again
	} {
		if got := l.follow(st.wall, st.mono); got-2*time.Hour != st.want {
			t.Errorf("step %d: %v after the entry, want %v", i, got-2*time.Hour, st.want)
		}
	}
	if l.destructionHeld(2 * time.Hour) {
		t.Error("a follower holds what destroys")
	}
}
