package main

import (
	"fmt"
	"io"
	"log/slog"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/madang-chat/madang/internal/config"
)

// newLogger returns the log of a node. What clients call themselves stands in it, so no record may look like two, or like
// another one, to a terminal or to whoever splits lines: the text form quotes what is not printable, the JSON form is plainJSON.
func newLogger(c *config.Config, level slog.Leveler, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(plainJSON{w}, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// plainJSON writes records in JSON with everything escaped that is not printable. JSON leaves some of it as it is: NEL, which
// ends a line for some, the control characters above 0x7f, one of which is the ESC [ of terminals, and marks that turn text
// around. It says the same with and without: outside of strings JSON has none of these.
type plainJSON struct{ w io.Writer }

// Write is called with one record at a time.
func (p plainJSON) Write(record []byte) (int, error) {
	if plain(record) {
		return p.w.Write(record)
	}
	out := make([]byte, 0, len(record)+64)
	for rest := record; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		switch {
		case r == '\n' || unicode.IsPrint(r) && r != utf8.RuneError:
			out = append(out, rest[:n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		rest = rest[n:]
	}
	if _, err := p.w.Write(out); err != nil {
		return 0, err
	}
	return len(record), nil
}

// plain reports whether a record is ASCII that can be printed, as nearly all are.
func plain(record []byte) bool {
	for _, b := range record {
		if b >= 0x7f || b < ' ' && b != '\n' {
			return false
		}
	}
	return true
}
