package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTime is how long a program has between SIGTERM and SIGKILL.
const stopTime = 15 * time.Second

// errEnded says that a broker has ended by itself.
var errEnded = errors.New("the broker ended")

// command prepares a program that gets SIGTERM when ctx is cancelled, SIGKILL if it still runs stopTime later, and
// SIGKILL when this program dies. It is in a group of its own, so that Ctrl-C reaches it only that way.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	return cmd
}

// process is a broker that runs.
type process struct {
	port, pid int
	log       string          // file with all it printed
	ended     <-chan struct{} // closed when it has ended
	state     func() string   // how it ended; only after that
	cancel    context.CancelFunc
}

// start runs a broker on dir, which must not be there yet, and returns when it takes clients. Whoever gets a process
// stops it. When start fails, nothing runs.
func start(ctx context.Context, b *broker, dir string) (*process, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	at := place{port: port, dir: dir}
	if b.config != "" {
		if err := os.WriteFile(at.file(), []byte(at.fill(b.config)), 0o644); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	running, cancel := context.WithCancel(ctx)
	cmd := command(running, b.program, at.fillAll(b.args)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // state tells what it would
		close(ended)
	}()
	p := &process{port: port, pid: cmd.Process.Pid, log: log.Name(), ended: ended, cancel: cancel}
	p.state = func() string { return cmd.ProcessState.String() }
	if err := p.ready(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// stop ends the broker and returns when it is gone. It may be called again.
func (p *process) stop() {
	p.cancel()
	<-p.ended
}

// gone returns nil while the broker runs, then an error that wraps errEnded and has the last it said.
func (p *process) gone() error {
	select {
	case <-p.ended:
		said, _ := os.ReadFile(p.log)
		return fmt.Errorf("%w (%s): %s", errEnded, p.state(), cmp.Or(lastLine(said), "it said nothing"))
	default:
		return nil
	}
}

// freePort returns a port of the loopback that nobody listens on now.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// lastLine returns the last line that is not empty.
func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
