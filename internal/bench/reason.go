package bench

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// advise adds to an error of the system what can be done about it.
func advise(err error) error {
	for _, row := range []struct {
		is     unix.Errno
		advice string
	}{
		{unix.ECONNREFUSED, "is a broker running there?"},
		{unix.EMFILE, "raise the limit of open files (ulimit -n)"},
		{unix.ENFILE, "raise the system's limit of open files (fs.file-max)"},
		{unix.EADDRNOTAVAIL, "the local address has no port left: connect from several with --ifaddr"},
	} {
		if errors.Is(err, row.is) {
			return fmt.Errorf("%w; %s", err, row.advice)
		}
	}
	return err
}

// reason says what a code of a CONNACK, SUBACK, PUBACK or DISCONNECT means and, where something can be done, what.
func reason(code byte) string {
	if text := reasons[code]; text != "" {
		return fmt.Sprintf("%s (0x%02X)", text, code)
	}
	return fmt.Sprintf("code 0x%02X", code)
}

// reasons are those of MQTT 5, 2.4, and below 0x80 those of a CONNACK of 3.1.1.
var reasons = map[byte]string{
	0x01: "unacceptable protocol version, choose another with -V",
	0x02: "client id refused, choose another --prefix",
	0x03: "server unavailable",
	0x04: "wrong user name or password, give them with -u and -P",
	0x05: "not authorized, log in as one who is with -u and -P",

	0x80: "no reason given",
	0x81: "malformed packet",
	0x82: "protocol error",
	0x83: "error of the broker's own",
	0x84: "unsupported protocol version, choose another with -V",
	0x85: "client id refused, choose another --prefix",
	0x86: "wrong user name or password, give them with -u and -P",
	0x87: "not authorized, log in as one who is with -u and -P",
	0x88: "server unavailable",
	0x89: "server busy",
	0x8A: "banned",
	0x8B: "server shutting down",
	0x8D: "keep alive timeout",
	0x8E: "session taken over, another run uses the same client ids: choose another --prefix",
	0x8F: "topic filter invalid",
	0x90: "topic name invalid",
	0x93: "receive maximum exceeded, lower -F",
	0x95: "packet too large, lower -s",
	0x96: "message rate too high, lower it or lift the broker's limit",
	0x97: "quota exceeded, lower the rate or lift the broker's limit",
	0x98: "administrative action",
	0x99: "payload format invalid",
	0x9A: "retain not supported, leave -r out",
	0x9B: "QoS not supported, lower -q",
	0x9C: "use another server",
	0x9D: "server moved",
	0x9F: "connection rate exceeded, lower it with -R",
}
