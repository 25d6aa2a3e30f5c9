package app

import (
	"testing"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/internal/config"
)

// The table of limits in the documentation and the limits that count refusals are the same: a row that says what is refused
// has a counter, and no other.
func TestLimitsAreDocumented(t *testing.T) {
	counted := map[string]bool{}
	for _, k := range limit.Keys() {
		counted[k.String()] = true
		if config.Lookup(k.String()) == nil {
			t.Errorf("%v is no key", k)
		}
	}
	for _, k := range config.Keys() {
		if k.Section() == "limits" && counted[k.Name] != (k.Over != "") {
			t.Errorf("%s: over it is %q, counted: %v", k.Name, k.Over, counted[k.Name])
		}
	}
}
