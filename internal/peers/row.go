package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// row is a scenario that every broker goes through, and what is read from its reports.
type row struct {
	name    string   // for -rows
	title   string   // beside the figures
	args    []string // of madang bench
	figures []figure

	madang   []string // more arguments of Madang
	timed    bool     // it lasts for a time that can be chosen
	null     bool     // the null broker can do it
	rate     float64  // messages a second, 0 = as many as the broker makes
	readers  int      // of each message; known where there is a rate
	overload bool     // more is offered than a broker must deliver
	stuck    int      // readers who never read: a broker may end their connections
	sessions int      // that come back and must still be there
}

// group is a table.
type group struct {
	title, about string
	rows         []row
}

var readers = []int{500, 2000, 10000}

// rowGroups are all there is to be measured.
func rowGroups() []group {
	return []group{
		{
			"One room, as fast as it goes",
			"One publisher with 16 messages in flight: the next follows when one has come to all readers.",
			oneRoom("room", []figure{perCPU, p99}, func(int) float64 { return 0 }),
		},
		{
			"One room, 20,000 deliveries a second",
			"The same rate of deliveries for all: what a delivery costs when there is little to put together.",
			oneRoom("offered", []figure{perCPU, p99}, func(readers int) float64 { return 20000 / float64(readers) }),
		},
		{
			"1,000 rooms with 10 readers each",
			"QoS 0; one publisher goes round the rooms.",
			[]row{
				{
					name: "rooms", title: "16 messages in flight", timed: true,
					args: []string{"rooms", "--rooms=1000", "-c=10"}, figures: []figure{perCPU, p99},
				},
				{
					name: "rooms-offered", title: "2,000 messages/s", timed: true, rate: 2000, readers: 10,
					args: []string{"rooms", "--rooms=1000", "-c=10", "--rate=2000"}, figures: []figure{perCPU, p99},
				},
			},
		},
		{
			"Acknowledgements",
			"QoS 1, 32 messages in flight of each publisher, nobody subscribed.",
			[]row{publishers(1), publishers(8)},
		},
		{
			"Sessions that are away",
			"QoS 1. How fast a publisher with 32 messages in flight goes when nobody, and when 100 stored sessions, will want " +
				"the messages later; then 100 sessions that missed 1,000 messages come back at once.",
			[]row{
				{
					name: "absent-0", title: "5,000 messages, no sessions", figures: []figure{acks},
					args: []string{"pub", "-q=1", "-c=1", "-F=32", "-L=5000", "--warmup=0s", "-d=2m"},
				},
				{
					name: "absent-100", title: "5,000 messages, 100 sessions away", figures: []figure{acks}, sessions: 100,
					args: []string{"offline", "-c=100", "-L=5000", "-F=32"},
				},
				{
					name: "return-100", title: "100 sessions back", figures: []figure{drain, complete}, sessions: 100,
					args: []string{"offline", "-c=100", "-L=1000", "-F=32"},
				},
			},
		},
		{
			"Connections",
			"They connect as fast as they are answered and then do nothing.",
			[]row{{
				name: "conn", title: "10,000", null: true, figures: []figure{connects, perConnection},
				args: []string{"conn", "-c=10000"},
			}},
		},
		{
			"Readers who never read",
			"50 readers and 200 messages/s, alone and beside 5 more whose sockets are never read. The messages have 4,096 bytes, " +
				"so that the buffers of the kernel do not hold all that waits for those 5.",
			slices.Concat(besideStuck(0), besideStuck(1)),
		},
		{
			"More than there is",
			"10,000 readers and 100 messages/s: a million deliveries a second offered.",
			[]row{{
				name: "flood", title: "QoS 0", timed: true, null: true, rate: 100, readers: 10000, overload: true,
				args: []string{"room", "-c=10000", "--rate=100"}, figures: []figure{perSecond, p99},
			}},
		},
	}
}

// oneRoom returns the rows of a room with few and many readers. rate is in messages a second, 0 = 16 in flight.
func oneRoom(name string, figures []figure, rate func(readers int) float64) (rows []row) {
	for qos := range 2 {
		for _, n := range readers {
			w := row{
				name:  fmt.Sprintf("%s-q%d-%d", name, qos, n),
				title: fmt.Sprintf("QoS %d, %s readers", qos, grouped(n)),
				args:  []string{"room", fmt.Sprintf("-c=%d", n), fmt.Sprintf("-q=%d", qos)},
				timed: true, null: qos == 0, figures: figures,
			}
			if r := rate(n); r > 0 {
				w.rate, w.readers = r, n
				w.args = append(w.args, "--rate="+strconv.FormatFloat(r, 'f', -1, 64))
			}
			rows = append(rows, w)
		}
	}
	return rows
}

func publishers(n int) row {
	return row{
		name: fmt.Sprintf("pub-%d", n), title: fmt.Sprintf("%d × 32 in flight", n), timed: true,
		args: []string{"pub", "-q=1", "-F=32", fmt.Sprintf("-c=%d", n)}, figures: []figure{acks, ackP99},
	}
}

func besideStuck(qos int) []row {
	alone := row{
		name: fmt.Sprintf("alone-q%d", qos), title: fmt.Sprintf("QoS %d, alone", qos), timed: true, null: qos == 0,
		args: []string{"room", "-c=50", fmt.Sprintf("-q=%d", qos), "--rate=200", "-s=4096"},
		rate: 200, readers: 50, figures: []figure{share, p99, resident},
	}
	beside := alone
	beside.name, beside.title = fmt.Sprintf("stuck-q%d", qos), fmt.Sprintf("QoS %d, beside 5 who never read", qos)
	beside.args, beside.stuck = append(slices.Clone(alone.args), "--stuck=5"), 5
	return []row{alone, beside}
}

// selected returns the groups with only the rows whose names match.
func selected(groups []group, names *regexp.Regexp) (some []group, err error) {
	var all []string
	for _, g := range groups {
		var rows []row
		for _, w := range g.rows {
			all = append(all, w.name)
			if names.MatchString(w.name) {
				rows = append(rows, w)
			}
		}
		if len(rows) > 0 {
			g.rows = rows
			some = append(some, g)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("-rows %s: no row has such a name; there are %s", names, strings.Join(all, ", "))
	}
	return some, nil
}

// share is how much of what was offered a run delivered in the measured time. Of a run that offers nothing, all was.
func (w *row) share(r *report) float64 {
	offered := w.rate * float64(w.readers) * r.Seconds
	if offered == 0 {
		return 1
	}
	missing := offered - float64(r.Delivered)
	if r.Lost == 0 && missing <= max(2*float64(w.readers), offered/100) {
		return 1 // it is what was under way when the time ended
	}
	return min(1-missing/offered, 1)
}

// grouped writes a number with commas.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
