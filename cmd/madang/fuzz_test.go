package main

import "testing"

// FuzzAnswers reads any bytes as what the program finds in a pid file and gets from a server.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{"12\n", "-1", "99999999999999999999", `{"rooms":[{"room":"r","kind":"public"}]}`, `{"rooms":{}}`, "null"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if pid := parsePid(b); pid < 0 {
			t.Errorf("%q is process %d", b, pid)
		}
		_, _ = parseRooms(b) // an error or rooms
	})
}
