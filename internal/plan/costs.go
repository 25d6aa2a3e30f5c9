package main

import "time"

// What one node costs, measured. Where nothing else is said: two cores that broker and load generator share, loopback
// (the kernel charges the receiver's half to the sender), no TLS, 128-byte text, MQTT 3.1.1, QoS 0. How it was measured
// and the figures of today are in docs/performance.md.
const (
	// A send that carries one frame, in a node that does little else: 5 to 9 µs. The middle.
	loneSend = 7 * time.Microsecond
	// A frame when hotFrames or more go out in one send of a sweep over one room.
	hotFrame  = time.Microsecond
	hotFrames = 8

	// An entry of the log with few commands, from the first command to the last answer.
	entryCPU  = 450 * time.Microsecond
	entryWall = 450 * time.Microsecond // 0.4 to 0.5 ms, fsync included

	// Acknowledged messages of one group on two cores with fsync: 50,000 to 80,000 a second. The lower end.
	groupPerSecond = 50_000
	groupCores     = 2
	// A command in the log and the store alone, many to an entry: 234,000 a second on one voter.
	commandCPU = 4 * time.Microsecond

	// One fsync of the log: 0.29 ms with 256 bytes, 0.46 ms with 256 times as much.
	syncBase    = 290 * time.Microsecond
	syncCommand = 660 * time.Nanosecond

	connectsPerSecond = 7_000 // CONNECT and SUBSCRIBE of new connections

	memoryLow  = 12 << 10 // resident bytes per connection with one subscription; the kernel's socket is not in it
	memoryHigh = 16 << 10
	frameBytes = 290 // a delivered PUBLISH
	logBytes   = 330 // a message in the log and in the store
)

// What follows from the code or the protocol.
const (
	commitTimeout = 5 * time.Millisecond        // cluster.DefaultConfig: followers hear of a lonely commit after 1x to 2x this
	heartbeat     = 700 * time.Millisecond / 10 // several voters: sent after 1x to 2x this
	paceGoal      = 8                           // cluster/pace.go: commands after which an entry waits no longer
	paceLongest   = 4 * time.Millisecond        // cluster/pace.go: between entries that wait
	placesEvery   = 5 * time.Second             // broker: a node tells the log how far its sessions are
	replicas      = 16                          // fed by one node
	// limits.connection_bytes: what may wait for a socket before its reader goes on from the log.
	connectionBytes = 1 << 20
	voters          = 3
	segment         = 1448 // TCP payload of an Ethernet frame of 1,500 bytes
	overhead        = 90   // Ethernet with preamble and gap, IP, TCP with timestamps
)

// What is assumed, because nothing here measures it yet.
const (
	roundTrip = 200 * time.Microsecond // between two nodes of one site
	hop       = 300 * time.Microsecond // from one node having an entry to the next having applied it
	// The least work of a connection that is turned away, as a share of one that is let in.
	refusal = 0.1
	// A PINGREQ and its answer: one lone send and as much again for the read.
	pingCost = 2 * loneSend
	// A copy of an entry from one node to another, both ends, many to a send.
	copyCost = 2 * hotFrame
)

// publishCost is what a published message costs beside its share of an entry and its command: its client's read and
// acknowledgement, and the load generator's half, so it is too high rather than too low.
func publishCost() time.Duration {
	perSecond := float64(groupCores * time.Second)
	perSecond -= float64(time.Second) / float64(entryWall) * float64(entryCPU)
	return time.Duration(perSecond/groupPerSecond) - commandCPU
}

// sendCost is what one send takes of a core: base and, for each frame in it, frame.
type sendCost struct{ base, frame time.Duration }

// fit returns the cost that gives lone for a send of one frame and hot per frame for a send of n.
func fit(lone, hot time.Duration, n int) sendCost {
	frame := (time.Duration(n)*hot - lone) / time.Duration(n-1)
	return sendCost{base: lone - frame, frame: frame}
}

func (c sendCost) of(frames int) time.Duration { return c.base + time.Duration(frames)*c.frame }

// measured is the cost of a send that fits both figures.
var measured = fit(loneSend, hotFrame, hotFrames)

// onWire returns the bytes that a send of n frames puts on the line.
func onWire(frames int) int64 {
	payload := frames * frameBytes
	packets := (payload + segment - 1) / segment
	return int64(payload + packets*overhead)
}

// machine is what a node runs on.
type machine struct {
	cores   int
	nic     int64 // bits per second
	memory  int64 // bytes
	storage int64 // bytes for history, after replication of the disk itself
}

// writers is the number of threads that deliver, as broker.New starts them: the rest is for readers, log and kernel.
func (m machine) writers() int { return max(m.cores/2, 1) }

const (
	gigabit = int64(1_000_000_000)
	gib     = int64(1) << 30
	tb      = int64(1_000_000_000_000)
)
