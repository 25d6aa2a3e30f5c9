// Package docs_test runs what the documents tell people to type.
package docs_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 2 * time.Minute // the first command builds everything

// command is one line behind a "$ " in a console block, and the output shown below it; "…" stands for anything.
type command struct {
	line int
	text string
	want []string
}

// commands returns the console blocks of a document.
func commands(t *testing.T, file string) (blocks [][]command) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var block []command
	inside := false
	for i, l := range strings.Split(string(b), "\n") {
		switch {
		case l == "```console":
			inside = true
		case l == "```" && inside:
			blocks, block, inside = append(blocks, block), nil, false
		case inside && strings.HasPrefix(l, "$ "):
			block = append(block, command{line: i + 1, text: l[2:]})
		case inside:
			last := &block[len(block)-1]
			last.want = append(last.want, l)
		}
	}
	return blocks
}

// lines reads a stream in the background.
func lines(r io.Reader) <-chan string {
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		for s := bufio.NewScanner(r); s.Scan(); {
			out <- s.Text()
		}
	}()
	return out
}

// next returns the next line that f takes.
func next(t *testing.T, from <-chan string, what string, f func(string) bool) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case l, ok := <-from:
			if !ok {
				t.Fatalf("the output ended before %s", what)
			}
			if f(l) {
				return l
			}
		case <-deadline:
			t.Fatalf("nothing within %v: %s", patience, what)
		}
	}
}

// start runs a command in its own process group until the test ends, and returns what it prints.
func start(t *testing.T, dir string, name string, args ...string) (io.Writer, <-chan string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all := lines(out)
	t.Cleanup(func() {
		_ = in.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		for range all { //nolint:revive // until it has ended
		}
		_ = cmd.Wait()
	})
	return in, all
}

// matches reports whether a line is what the document shows.
func matches(want, got string) bool {
	parts := strings.Split(want, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(got)
}

// node starts the node that the README's make run starts, on free ports and with data of its own, and returns the root
// of the tree and what the banner says of an address.
func node(t *testing.T) (root string, address func(what string) string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	args := "--data-dir " + t.TempDir()
	for _, l := range []string{"mqtt", "web", "ops"} {
		args += " --set listeners." + l + ".bind=127.0.0.1:0"
	}
	_, banner := start(t, root, "make", "run", "ARGS="+args)
	return root, func(what string) string {
		l := next(t, banner, what, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), what+"  ") })
		return regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(l)
	}
}

// The commands of the page about performance work; here with small figures.
func TestPerformanceCommands(t *testing.T) {
	root, address := node(t)
	mqtt := address("MQTT")
	port := mqtt[strings.LastIndexByte(mqtt, ':')+1:]
	short := map[string]string{
		"room": " -c 5 -d 100ms --warmup 10ms", "rooms": " --rooms 3 -d 100ms --warmup 10ms", "offline": " -c 3 -L 10",
	}
	ran := 0
	for _, block := range commands(t, "performance.md") {
		for _, c := range block {
			text, _, _ := strings.Cut(c.text, " #")
			text = strings.TrimSpace(strings.Replace(text, ` --pid "$(pidof madang)"`, "", 1))
			if rest, ok := strings.CutPrefix(text, "madang bench "); ok {
				scenario, _, _ := strings.Cut(rest, " ")
				text = "bin/madang bench " + rest + " -p " + port + short[scenario]
			} else {
				text = strings.Replace(text, "make ", "make -n ", 1) // twenty minutes otherwise
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-c", text)
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("performance.md:%d: %s: %v\n%s", c.line, text, err, out)
			}
			ran++
		}
	}
	if ran == 0 {
		t.Error("no command was found")
	}
}

// The page about clusters is followed on a loopback network of the test's own: three nodes, then a fourth.
func TestClusterCommands(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "make", "-C", root, "build").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out) // once, and not by three at a time
	}
	const network = "127.88.77."
	run := func(n, args string) <-chan string {
		_, out := start(t, root, "make", "node", "N="+n, "NET="+network, "ARGS=--data-dir "+t.TempDir()+args)
		return out
	}
	banners := []<-chan string{run("3", ""), run("1", ""), run("2", "")}
	shell, out := start(t, root, "bash")
	local := strings.NewReplacer("127.0.0.", network)
	for i, block := range commands(t, "cluster.md") {
		if i == 1 { // the block before it is the fourth node's
			banners = append(banners, run("4", " --set node.role=replica"))
		}
		for _, b := range banners {
			next(t, b, "banner", func(l string) bool { return strings.Contains(l, "mosquitto_pub") })
		}
		if banners = nil; i == 1 { // as who has four terminals and types is slower than who has a test
			ask(t, shell, out, nil, "cluster.md", command{}, "for i in $(seq 200); do curl -s "+network+
				"4:8081/cluster | grep -o '\"up\":true' | wc -l | grep -q 4 && break; sleep 0.05; done")
		}
		for _, c := range block {
			for i := range c.want {
				c.want[i] = local.Replace(c.want[i])
			}
			ask(t, shell, out, nil, "cluster.md", c, local.Replace(c.text))
		}
	}
}

// ask types a command into a shell and compares what it prints with what the document shows; what it does not print is
// looked for in what a subscriber prints that stays, if there is one.
func ask(t *testing.T, shell io.Writer, out, reader <-chan string, file string, c command, typed string) {
	t.Helper()
	const end = "--- end of the command, code"
	if _, err := fmt.Fprintf(shell, "%s\necho '%s' $?\n", typed, end); err != nil {
		t.Fatal(err)
	}
	var got []string
	next(t, out, "the end of "+typed, func(l string) bool {
		code, ended := strings.CutPrefix(l, end)
		if ended && code != " 0" {
			t.Errorf("%s:%d: code%s: %s", file, c.line, code, c.text)
		}
		if !ended {
			got = append(got, l)
		}
		return ended
	})
	for i, want := range c.want {
		line := ""
		switch {
		case i < len(got):
			line = got[i]
		case reader != nil:
			line = next(t, reader, want, func(l string) bool { return !strings.HasPrefix(l, "Client ") })
		}
		if !matches(want, line) {
			t.Errorf("%s:%d: %s\ngot  %s\nwant %s", file, c.line, c.text, line, want)
		}
	}
	if len(got) > len(c.want) {
		t.Errorf("%s:%d: more output than shown: %q", file, c.line, got[len(c.want):])
	}
}

// The README and the page about rooms are followed to the letter, but for the ports, which are free ones, and the directory
// of the data.
func TestREADME(t *testing.T) { follow(t, "../README.md") }

func TestChatCommands(t *testing.T) { follow(t, "chat.md") }

func TestUsersCommands(t *testing.T) { follow(t, "users.md") }

func follow(t *testing.T, file string) {
	root, address := node(t)
	mqtt, web := address("MQTT"), address("HTTP API")
	port := mqtt[strings.LastIndexByte(mqtt, ':')+1:]
	local := strings.NewReplacer("127.0.0.1:8080", web, "-h 127.0.0.1", "-h 127.0.0.1 -p "+port,
		"bin/madang pub", "bin/madang pub -p "+port, "bin/madang sub", "bin/madang sub -p "+port,
		"bin/madang bench room", "bin/madang bench room -p "+port)

	shell, out := start(t, root, "bash")
	for _, block := range commands(t, file) {
		var reader <-chan string // the output of a subscriber that stays
		for _, c := range block {
			typed := local.Replace(c.text)
			if strings.HasPrefix(typed, "mosquitto_sub") && !strings.Contains(typed, "-C") {
				_, reader = start(t, root, "bash", "-c", "exec stdbuf -oL "+typed+" -d")
				next(t, reader, "SUBACK", func(l string) bool { return strings.HasPrefix(l, "Subscribed") })
				continue
			}
			ask(t, shell, out, reader, filepath.Base(file), c, typed)
		}
	}
}

// Every test, make target and file that a document names is there.
func TestWhatIsNamedExists(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllStringSubmatch(string(b), -1) {
			tests[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"../README.md", "../DESIGN.md", "chat.md", "users.md", "cluster.md", "performance.md", "scale.md"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(text, -1) {
			if !tests[name] {
				t.Errorf("%s names %s, which does not exist", file, name)
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s names make %s, which does not exist", file, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links %s: %v", file, m[1], err)
			}
		}
	}
}
