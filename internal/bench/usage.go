package bench

import (
	"fmt"

	"github.com/prometheus/procfs"
)

// usage is what the broker's processes have used.
type usage struct {
	cpu float64 // s, user and system; to a hundredth
	rss int     // bytes
}

// measure adds up the processes. Without one it returns zeroes.
func measure(pids []int) (u usage, err error) {
	for _, pid := range pids {
		p, err := procfs.NewProc(pid)
		if err != nil {
			return u, fmt.Errorf("--pid: process %d does not run here: %w", pid, err)
		}
		st, err := p.Stat()
		if err != nil {
			return u, fmt.Errorf("--pid: %w", err)
		}
		u.cpu += st.CPUTime()
		u.rss += st.ResidentMemory()
	}
	return u, nil
}
