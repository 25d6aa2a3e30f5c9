// Package deploy_test checks what is shipped beside the binary.
package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/madang-chat/madang/internal/config"
)

func TestExampleConfiguration(t *testing.T) {
	c, err := config.Load(config.Options{File: "madang.example.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	if c.Node.Name != "chat-1" || !c.Listeners.MQTTS.TLS() || c.Rooms.Retention.Age == 0 {
		t.Errorf("%+v", c)
	}
}

// The unit is known to systemd, every line of it, and leaves little to attack.
func TestSystemdUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed (scripts/deps.sh unit)")
	}
	text, err := os.ReadFile("systemd/madang.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable() // verify wants the program to exist
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`/usr/bin/madang\b`).ReplaceAllLiteral(text, []byte(program))
	unit := filepath.Join(t.TempDir(), "madang.service")
	if err := os.WriteFile(unit, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	const most = "20" // tenths: an exposure of 2.0 of 10
	out, err = exec.CommandContext(t.Context(),
		analyze, "security", "--offline=true", "--no-pager", "--threshold="+most, unit).CombinedOutput()
	if err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}
