package config

import "testing"

// FuzzValues reads any text as a list, a number, a size and a network: what is taken is in bounds, and reads as the same when
// it is printed.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"", "a, b", "12", "256KiB", "8388607TiB", "10.0.0.0/8", "::1", "fe80::1%eth0", "::ffff:10.0.0.1/104", "9223372036854775807", "1 MB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if all, err := parseList(s); err == nil {
			for _, e := range all {
				if e == "" {
					t.Errorf("%q has an empty element", s)
				}
			}
		}
		if n, err := parseCount(s); err == nil && n < 0 {
			t.Errorf("%q is %d", s, n)
		}
		if n, err := parseSize(s); err == nil {
			if back, err := parseSize(formatSize(n)); n < 0 || err != nil || back != n {
				t.Errorf("%q = %d is written %q and read as %d, %v", s, n, formatSize(n), back, err)
			}
		}
		if p, err := ParseNetwork(s); err == nil {
			if back, err := ParseNetwork(p.String()); err != nil || back != p {
				t.Errorf("%q is %v and reads as %v, %v", s, p, back, err)
			}
		}
	})
}
