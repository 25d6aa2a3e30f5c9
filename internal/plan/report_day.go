package main

import (
	"fmt"
	"math/rand/v2"
)

// groupCounts are the numbers of Raft groups that are compared.
var groupCounts = []int{64, 128, 256, 1024}

// What the plan chooses, and what tables assume where they need it.
const (
	plannedGroups  = 128
	plannedNodes   = 64
	plannedHistory = 7 // days
	roomLimit      = 5_000
)

// plannedPace is how long an entry waits: for four times as many commands as today.
var plannedPace = pace{4 * paceGoal, paceLongest}

func placementTable() *table {
	t := &table{
		title: fmt.Sprintf("%s messages a day in %s rooms: %s a second, %s at the peak, over Raft groups.",
			count(messagesPerDay), count(roomsInAll), number(meanPerSecond()), number(peakPerSecond())),
		note: fmt.Sprintf("The room of rank i has a share proportional to i^-s; in the last case no room may have more than %s a second. "+
			"Fullest group against the mean, median (largest) of %d hashes: rooms placed by hash alone; by hash into %s slots, which are "+
			"placed by load after the %s busiest rooms. Last: the fullest group then, of the %s a second that one commits.",
			count(roomLimit), placements, count(slots), count(roomsMoved), count(groupPerSecond)),
		head: []string{"s", "busiest room, peak", "groups", "mean group, peak", "by hash", "by slots and load", "fullest group then"},
	}
	for _, c := range []struct {
		s       float64
		limited bool
	}{{0.8, false}, {1 + 1e-9, false}, {1 + 1e-9, true}} {
		z, name := newTraffic(c.s, roomsInAll, roomsAlone), number(c.s)
		if c.limited {
			z, name = z.capped(roomLimit/peakPerSecond()), name+", limited"
		}
		counts := groupCounts
		if !c.limited && z.head[0]*peakPerSecond() > groupPerSecond { // hopeless with any number
			counts = []int{counts[0], counts[len(counts)-1]}
		}
		for _, groups := range counts {
			hash, worst := fullest(func(r *rand.Rand) []float64 { return z.byHash(groups, 0, r) })
			load, _ := fullest(func(r *rand.Rand) []float64 { return z.byLoad(groups, roomsMoved, r) })
			t.row(name, number(z.head[0]*peakPerSecond()), count(groups), number(peakPerSecond()/float64(groups)),
				fmt.Sprintf("%s (%s)", number(hash*float64(groups)), number(worst*float64(groups))),
				number(load*float64(groups)), percent(load*peakPerSecond()/groupPerSecond))
		}
	}
	return t
}

// entriesOf simulates the mean group of so many at the peak.
func entriesOf(groups int, p pace) groupOutcome {
	return groupLog{rate: peakPerSecond() / float64(groups), pace: p, commands: 10_000}.simulate()
}

func groupTable() *table {
	t := &table{
		title: "What the number of groups costs: entries of the mean group at the peak, simulated.",
		note: fmt.Sprintf("An entry takes what gathered during the one before, and waits for %d commands (as today) or %d, at most %s. Wait: until the leader's fsync. Cores: all %d copies of all groups. Idle calls: from leaders to followers when nothing is "+
			"published. Places: commands with which %d nodes tell every group every %s how far their sessions are.",
			paceGoal, plannedPace.goal, duration(paceLongest), voters, plannedNodes, duration(placesEvery)),
		head: []string{"groups", "waits for", "commands per entry", "entries/s of a group", "wait p50", "p99", "cores", "idle calls/s", "places/s"},
	}
	for _, groups := range groupCounts {
		for _, p := range []pace{{paceGoal, paceLongest}, plannedPace} {
			o := entriesOf(groups, p)
			t.row(count(groups), count(p.goal), number(o.perEntry), number(o.entries), duration(o.wait.quantile(0.5)), duration(o.wait.quantile(0.99)),
				number(logCores(groups, o.entries)), number(idleCalls(groups)), number(plannedNodes*float64(groups)/placesEvery.Seconds()))
		}
	}
	return t
}

func diskTable() *table {
	rate := voters * peakPerSecond() / plannedNodes
	t := &table{
		title: fmt.Sprintf("Several groups on one log device, simulated: each of %d nodes syncs %s commands a second at the peak.", plannedNodes, number(rate)),
		note:  "Wait of a command until its fsync ends: each group syncs for itself; all groups of the node share one queue.",
		head:  []string{"groups", "on a node", "own: fsyncs/s", "p50", "p99", "shared: fsyncs/s", "p50", "p99"},
	}
	for _, groups := range groupCounts {
		d := disk{groups: groups * voters / plannedNodes, rate: rate, commands: 15_000}
		own, shared := d.own(), d.shared()
		t.row(count(groups), count(d.groups),
			number(own.syncs), duration(own.wait.quantile(0.5)), duration(own.wait.quantile(0.99)),
			number(shared.syncs), duration(shared.wait.quantile(0.5)), duration(shared.wait.quantile(0.99)))
	}
	return t
}

func demandTable() *table {
	m := serving
	t := &table{
		title: fmt.Sprintf("What the peak takes, by mean live readers of a message, on nodes with %d cores, %s Gbit/s, %s and %s TB.",
			m.cores, gigabits(float64(m.nic)), binary(float64(m.memory)), number(float64(m.storage)/float64(tb))),
		note: fmt.Sprintf("Filled to %s, disks to %s. %d groups, entries paced at %d; %d days of history; %s connections (%d messages a day each).",
			percent(fill), percent(diskFill), plannedGroups, plannedPace.goal, plannedHistory,
			count(messagesPerDay/messagesPerConnection), messagesPerConnection),
		head: []string{"mean readers", "5", "20", "200"},
	}
	var all []*demand
	log := logCores(plannedGroups, entriesOf(plannedGroups, plannedPace).entries)
	for _, readers := range []float64{5, 20, 200} {
		all = append(all, newDemand(readers, log, plannedHistory))
	}
	line := func(what string, value func(d *demand) string) {
		cells := []string{what}
		for _, d := range all {
			cells = append(cells, value(d))
		}
		t.row(cells...)
	}
	line("deliveries/s, peak", func(d *demand) string { return number(peakPerSecond() * d.readers) })
	line("Gbit/s to clients, peak", func(d *demand) string { return gigabits(d.out) })
	line("cores: logs of all copies", func(d *demand) string { return number(d.log) })
	line("cores: publishes read and acknowledged; keep alives", func(d *demand) string { return number(d.publish) + "; " + number(d.idle) })
	line("cores: deliveries, one to a send", func(d *demand) string { return number(d.deliver) })
	line(fmt.Sprintf("(the same, %d to a send)", hotFrames), func(d *demand) string { return "(" + number(d.batched) + ")" })
	line("nodes that have a reader of a message", func(d *demand) string { return number(d.copies) })
	line("cores: copies to these nodes", func(d *demand) string { return number(d.between) })
	line("nodes by CPU; line; memory; disk", func(d *demand) string {
		return count(d.byCPU) + "; " + count(d.byNIC) + "; " + count(d.byMemory) + "; " + count(d.byDisk)
	})
	line("**nodes**", func(d *demand) string { return "**" + count(d.nodes()) + "**" })
	return t
}

func historyTable() *table {
	perDay := storedBytes(1)
	t := &table{
		title: fmt.Sprintf("History: %s TB a day in one copy, %s TB in %d, not compressed.", number(perDay/voters/float64(tb)), number(perDay/float64(tb)), voters),
		note: fmt.Sprintf("Drives write %d times that (assumed: log, store's log, flush, compactions): %s TB a day, in the mean %s GB/s.",
			writeAmplification, number(perDay*writeAmplification/float64(tb)), number(perDay*writeAmplification/secondsPerDay/1e9)),
		head: []string{
			"days kept", "TB in all", fmt.Sprintf("nodes with %s TB, at least %d", number(float64(serving.storage)/float64(tb)), plannedNodes),
			"TB written per node and day", "drive writes per day",
		},
	}
	for _, days := range []int{7, 30} {
		all := storedBytes(days)
		nodes := max(atLeast(all, float64(serving.storage)*diskFill), plannedNodes)
		written := perDay * writeAmplification / float64(nodes)
		t.row(count(days), number(all/float64(tb)), count(nodes), number(written/float64(tb)), number(written/float64(serving.storage)))
	}
	return t
}

func besideTable() *table {
	o := entriesOf(plannedGroups, plannedPace)
	later := o.wait.quantile(0.5) + roundTrip + entryWall + 2*hop
	other := 1 - 1/float64(plannedGroups)
	t := &table{
		title: fmt.Sprintf("What the logs of %d groups carry beside messages, at the peak.", plannedGroups),
		note: fmt.Sprintf("A follow-up (from a room to a user: list of rooms, mention, inbox) is a command in the user's group and, since that is "+
			"another group for %s of them, one that takes it out of the room's outbox; it is committed there %s after the room's entry (p50). A read mark is "+
			"counted as %d bytes and as much CPU as a command; marks of a user in a room within 2 s are not yet one.",
			percent(other), duration(later), markBytes),
		head: []string{"what", "per message", "commands/s", "share of messages", "cores, all copies", "log, all copies"},
	}
	add := func(what string, perMessage, commands, ofAnEntry float64, bytes int) {
		perSecond := peakPerSecond() * perMessage * commands
		cores := voters * perSecond * (entryCPU.Seconds()*ofAnEntry + commandCPU.Seconds())
		t.row(what, number(perMessage), number(perSecond), percent(perSecond/peakPerSecond()), number(cores),
			number(perSecond/peakFactor*secondsPerDay*float64(bytes)*voters/float64(tb))+" TB a day")
	}
	for _, perMessage := range []float64{0.01, 0.1} {
		add("follow-ups", perMessage, 1+other, 1/o.perEntry, followUpBytes) // more entries of the same size
	}
	for _, perMessage := range []float64{1, 5} {
		add("read marks", perMessage, 1, 0, markBytes) // a thousand to a command
	}
	add("sessions taken", float64(takesPerConnection)/messagesPerConnection, 1, 1/o.perEntry, followUpBytes)
	return t
}
