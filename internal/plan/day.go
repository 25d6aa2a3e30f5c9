package main

import (
	"math"
	"time"
)

// The second goal, and what is assumed about it.
const (
	messagesPerDay = 60_000_000_000
	secondsPerDay  = 86_400
	peakFactor     = 3 // busiest second against the mean
	roomsInAll     = 100_000_000
	roomsAlone     = 100_000 // busiest rooms that are placed one by one
	roomsMoved     = 1_000   // busiest rooms that are placed by load

	messagesPerConnection = 300 // a day: 200 million connections
	keepAlive             = time.Minute
	takesPerConnection    = 4   // connects of a stored session a day
	followUpBytes         = 100 // a command from a room to a user, or of a session, in the log
	markBytes             = 30  // a read mark among others
	// Bytes written to a drive for each byte of a message: raft log, Pebble's log, flush, and about nine by compactions,
	// since keys of 100 million rooms come in no order.
	writeAmplification = 12
	fill               = 0.6 // how full cores, lines and memory may be at the peak, with all nodes up
	diskFill           = 0.8 // how full disks may be: compactions need room
)

// serving is the machine of the second goal.
var serving = machine{cores: 32, nic: 25 * gigabit, memory: 128 * gib, storage: 16 * tb}

func meanPerSecond() float64 { return float64(messagesPerDay) / secondsPerDay }
func peakPerSecond() float64 { return meanPerSecond() * peakFactor }

// groupLog is the log of one group: commands that come at random, rate per second, gather into entries.
type groupLog struct {
	rate     float64
	pace     pace
	commands int
}

// groupOutcome is how the commands were put into entries.
type groupOutcome struct {
	perEntry float64   // commands
	entries  float64   // per second
	wait     latencies // from coming to the end of the leader's fsync
}

func (g groupLog) simulate() groupOutcome {
	var t timeline
	var o groupOutcome
	log := &gatherer[time.Duration]{
		t: &t, pace: g.pace,
		work: func([]time.Duration) time.Duration { return entryWall },
		done: func(lot []time.Duration, _ time.Duration) {
			for _, at := range lot {
				o.wait = append(o.wait, series{first: t.now - at, count: 1, copies: 1})
			}
		},
	}
	times := arrivals(g.rate, g.commands, 10)
	t.each(times, func(i int) { log.add(times[i]) })
	t.run()
	o.perEntry = float64(g.commands) / float64(log.lots)
	o.entries = float64(log.lots) / t.now.Seconds()
	return o
}

// logCores returns the cores that all copies of so many groups take for entries and commands at the peak. A follower is
// counted like a leader: nothing measured says that it is cheaper.
func logCores(groups int, entries float64) float64 {
	return voters * (float64(groups)*entries*entryCPU.Seconds() + peakPerSecond()*commandCPU.Seconds())
}

// idleCalls returns the calls per second that leaders of so many groups make when nothing is published: hashicorp/raft
// sends an AppendEntries to each follower after one to two commit timeouts, and a heartbeat after one to two heartbeats.
func idleCalls(groups int) float64 {
	perFollower := 1/(1.5*commitTimeout.Seconds()) + 1/(1.5*heartbeat.Seconds())
	return float64(groups*(voters-1)) * perFollower
}

// copies returns how many of the nodes have at least one of the readers of a message, readers being spread at random.
func copies(nodes, readers float64) float64 { return nodes * (1 - math.Pow(1-1/nodes, readers)) }

// demand is what the peak takes with so many live readers of a message in the mean.
type demand struct {
	readers float64
	log     float64 // cores, of all groups' copies
	publish float64 // cores
	deliver float64 // cores, each frame a send of its own
	batched float64 // cores, hotFrames to a send
	between float64 // cores for copies between nodes
	idle    float64 // cores for keep alives
	out     float64 // bits per second to clients
	copies  float64 // nodes that need a message

	byCPU, byNIC, byMemory, byDisk int // nodes
}

func (d *demand) nodes() int { return max(d.byCPU, d.byNIC, d.byMemory, d.byDisk) }

// newDemand computes it for a number of log cores and days of history. Copies between nodes need nodes and are needed for
// them: it goes round until both agree.
func newDemand(readers, log float64, days int) *demand {
	peak := peakPerSecond()
	connections := float64(messagesPerDay) / messagesPerConnection
	d := &demand{
		readers: readers, log: log,
		publish: peak * publishCost().Seconds(),
		deliver: peak * readers * loneSend.Seconds(),
		batched: peak * readers * hotFrame.Seconds(),
		idle:    connections / keepAlive.Seconds() * pingCost.Seconds(),
		out:     peak * readers * float64(onWire(1)*8),
	}
	m := serving
	d.byMemory = atLeast(connections*memoryHigh, float64(m.memory)*fill)
	d.byDisk = atLeast(storedBytes(days), float64(m.storage)*diskFill)
	for range 100 {
		before := d.nodes()
		n := float64(max(before, voters))
		d.copies = copies(n, readers)
		d.between = peak * d.copies * copyCost.Seconds()
		d.byCPU = atLeast(d.log+d.publish+d.deliver+d.between+d.idle, float64(m.cores)*fill)
		d.byNIC = atLeast(d.out+peak*d.copies*logBytes*8, float64(m.nic)*fill)
		if d.nodes() == before {
			break
		}
	}
	return d
}

// storedBytes returns the size of so many days of history in all copies, not compressed.
func storedBytes(days int) float64 { return float64(days) * messagesPerDay * logBytes * voters }

func atLeast(need, each float64) int { return int(math.Ceil(need / each)) }
