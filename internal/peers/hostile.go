package main

import "fmt"

// What hostile clients cost others, each as a ratio of what others had without them in the same run.
var (
	besideP99 = figure{
		name: "p99 of others, beside to alone", text: precise, less: true,
		of: func(_ *row, r *report) (float64, bool) {
			alone, _ := r.LiveBefore.p99()
			beside, ok := r.LiveDuring.p99()
			return beside / max(alone, 1e-3), ok && alone > 0
		},
	}
	besideThroughput = figure{
		name: "deliveries/s to others, beside to alone", text: precise,
		of: func(_ *row, r *report) (float64, bool) { return r.Beside / max(r.Alone, 1e-9), r.Alone > 0 },
	}
	besideCPU = figure{
		name: "CPU of the broker, beside to alone", text: precise, less: true,
		of: func(_ *row, r *report) (float64, bool) { return r.BesideCPU / max(r.AloneCPU, 1e-9), r.AloneCPU > 0 },
	}
	taken = figure{
		name: "messages of the flood taken", text: count, less: true,
		of: func(_ *row, r *report) (float64, bool) { return r.FloodAcked, true },
	}
	back = figure{
		name: "until all are back, s", text: precise, less: true,
		of: func(_ *row, r *report) (float64, bool) { return r.DrainSeconds, r.DrainSeconds > 0 },
	}
	refusedConnects = figure{
		name: "connections refused", text: count, less: true,
		of: func(_ *row, r *report) (float64, bool) { return r.Attempts, true },
	}
)

// hostileGroups are measured when -rows names them: make bench-hostile.
func hostileGroups() []group {
	return []group{
		{
			"Hostile loads: a flood",
			"50 readers, 10 publishers with 20 messages/s each, alone and beside 1 or 10 clients that send the same message as fast as " +
				"their sockets take it, in turn. Madang has its default limits of rate.",
			[]row{hostileFlood(1), hostileFlood(10)},
		},
		{
			"Hostile loads: a storm",
			"The same readers, beside stored sessions that lose their connections at one moment and come back at once, without back-off.",
			[]row{hostileStorm(1000), hostileStorm(10000)},
		},
		{
			"Hostile loads: slow readers",
			"1,000 readers of a room with 10 messages/s of 4,096 bytes, alone and beside 1,000 more: of three one never reads, one reads " +
				"a byte a second, one never acknowledges.",
			[]row{hostileSlow(0), hostileSlow(1000)},
		},
	}
}

var limited = []string{"--set", "limits.messages_per_second=50", "--set", "limits.bytes_per_second=1MiB"}

func hostileFlood(n int) row {
	return row{
		name: fmt.Sprintf("hostile-flood-%d", n), title: plural(n, "flood", "floods"), madang: limited,
		args: []string{"flood", fmt.Sprintf("--floods=%d", n)}, figures: []figure{besideThroughput, besideP99, besideCPU, taken},
	}
}

func hostileStorm(n int) row {
	return row{
		name: fmt.Sprintf("hostile-storm-%d", n), title: grouped(n) + " sessions", sessions: n,
		args:    []string{"storm", fmt.Sprintf("--sessions=%d", n)},
		figures: []figure{back, besideThroughput, besideP99, refusedConnects, resident},
	}
}

func hostileSlow(n int) row {
	w := row{
		name: fmt.Sprintf("hostile-slow-%d", n), title: "alone", timed: true, rate: 10, readers: 1000, stuck: n,
		args:    []string{"room", "-c=1000", "-q=1", "--rate=10", "-s=4096"},
		figures: []figure{share, p99, resident},
	}
	if n > 0 {
		w.title = fmt.Sprintf("beside %s slow ones", grouped(n))
		w.args = append(w.args, fmt.Sprintf("--slow=%d", n))
	}
	return w
}
