package broker

import "testing"

// A place in line is for whoever has sent all of a CONNECT.
func TestWholeConnect(t *testing.T) {
	for _, c := range []struct {
		name  string
		head  string
		whole bool
	}{
		{"one byte", "\x10", false},
		{"its length is not there", "\x10\x80", false},
		{"no body", "\x10\x00", true},
		{"a body", "\x10\x02ab", true},
		{"a body, and more", "\x10\x02ab\x82", true},
		{"a byte is missing", "\x10\x02a", false},
		{"two bytes of length", "\x10\x80\x01" + string(make([]byte, 128)), true},
		{"two bytes of length, a byte is missing", "\x10\x80\x01" + string(make([]byte, 127)), false},
		{"the longest length", "\x10\xff\xff\xff\x7f", false},
		{"a length of five bytes", "\x10\xff\xff\xff\xff\x01" + string(make([]byte, 99)), false},
		{"another packet", "\x30\x02ab", false},
		{"no MQTT", "GET / HTTP/1.1\r\n\r\n", false},
	} {
		if got := wholeConnect([]byte(c.head)); got != c.whole {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
