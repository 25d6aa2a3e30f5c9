package transport

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fdChildEnv makes the test binary run fdChild instead of the tests.
const fdChildEnv = "TRANSPORT_FD_CHILD"

// fdChild is a broker with few descriptors: it echoes until its input ends.
func fdChild() int {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 40, Max: 40}); err != nil {
		fmt.Println("ERR", err)
		return 1
	}
	l, err := Listen(ListenerConfig{Name: "mqtt", Bind: "127.0.0.1:0"}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Println("ERR", err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println(l.Addr())
	if err := l.Serve(ctx, once(echo)); err != nil {
		fmt.Println("ERR", err)
		return 1
	}
	fmt.Println("errors", l.Stats().AcceptErrors)
	return 0
}

// The accept loop outlives the lack of descriptors, and says so once.
func TestOutOfDescriptors(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), fdChildEnv+"=1")
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	outPipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	out := bufio.NewScanner(outPipe)
	if !out.Scan() || strings.HasPrefix(out.Text(), "ERR") {
		t.Fatal("child did not start: ", out.Text())
	}
	addr := out.Text()

	var conns []net.Conn
	for range 60 { // the kernel takes them all, the child cannot
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	until(t, "child out of descriptors", func() bool { return strings.Contains(log.String(), "too many open files") })
	for _, c := range conns[:50] {
		_ = c.Close()
	}
	last := conns[59]
	_ = last.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := last.Write([]byte{0xc0, 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(last, make([]byte, 2)); err != nil {
		t.Fatal("the connection that had waited is not served: ", err)
	}
	for _, c := range conns[50:] {
		_ = c.Close()
	}
	_ = in.Close()
	if !out.Scan() || out.Text() == "errors 0" {
		t.Fatal("child ended with: ", out.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "cannot accept"); n != 1 {
		t.Fatalf("%d log lines:\n%s", n, log.String())
	}
}
