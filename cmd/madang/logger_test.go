package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/madang-chat/madang/internal/config"
)

// forgeries are names that try to begin a record of their own, to end or rewrite a line on a terminal, or to hide.
var forgeries = []string{
	"a\nlevel=ERROR msg=owned", "a\r\nlevel=ERROR msg=owned", `a" level=ERROR msg="owned`, "a level=ERROR msg=owned",
	`a","level":"ERROR","msg":"owned`, "a\n" + `{"level":"ERROR","msg":"owned"}`,
	"a\x1b[2K\x1b[1Glevel=ERROR msg=owned", "a\u009b2Klevel=ERROR msg=owned", "a\u2028level=ERROR msg=owned", "a\u2029level=ERROR msg=owned",
	"a\u0085level=ERROR msg=owned", "a\x0b\x0clevel=ERROR", "a\x1clevel=ERROR", "a\u202eREVE", "a\x7f\x08\x08b", "a\u200b\ufeffb", "a\U000e0041b",
	"a=b", "\\u000alevel=ERROR", "a\\nlevel=ERROR",
}

// record is a line of the log.
type record map[string]string

// readLog takes a log apart, and fails on what a terminal or a reader of lines could take for something else.
func readLog(t *testing.T, format, text string) (records []record) {
	t.Helper()
	if text != "" && !strings.HasSuffix(text, "\n") {
		t.Errorf("the last record has no end: %q", text[max(0, len(text)-100):])
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		for _, r := range line {
			if !unicode.IsPrint(r) || r == unicode.ReplacementChar && format == "text" {
				t.Errorf("a line holds %U: %q", r, line)
			}
		}
		read := readText
		if format == "json" {
			read = readJSON
		}
		rec, err := read(line)
		if err != nil || rec["time"] == "" || rec["level"] == "" || rec["msg"] == "" {
			t.Errorf("no record: %v: %s", err, line)
		}
		records = append(records, rec)
	}
	return records
}

var errTwice = errors.New("a key is there twice")

// readText reads a line of key=value.
func readText(line string) (record, error) {
	rec := record{}
	for line != "" {
		key, rest, found := strings.Cut(line, "=")
		if !found || strings.ContainsAny(key, ` "`) {
			return rec, errors.New("no key=value")
		}
		var value string
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return rec, err
			}
			if value, err = strconv.Unquote(quoted); err != nil {
				return rec, err
			}
			if rest = rest[len(quoted):]; rest != "" && rest[0] != ' ' {
				return rec, errors.New("something behind a quoted value")
			}
			line = strings.TrimPrefix(rest, " ")
		} else {
			value, line, _ = strings.Cut(rest, " ")
		}
		if _, twice := rec[key]; twice {
			return rec, errTwice
		}
		rec[key] = value
	}
	return rec, nil
}

// readJSON reads a line that is an object, each of its keys once.
func readJSON(line string) (record, error) {
	rec := record{}
	d := json.NewDecoder(strings.NewReader(line))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return rec, errors.New("no object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return rec, err
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return rec, err
		}
		name, _ := key.(string)
		if _, twice := rec[name]; twice {
			return rec, errTwice
		}
		if s, ok := v.(string); ok {
			rec[name] = s
		} else {
			rec[name] = "-"
		}
	}
	if _, err := d.Token(); err != nil {
		return rec, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return rec, errors.New("something behind the object")
	}
	return rec, nil
}

// Whatever a record is about, it is one line and one record in both forms, and what it holds is read back as it was.
func TestLogRecordsStayOneLine(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		c, err := config.Load(config.Options{Set: []string{"log.format=" + format}})
		if err != nil {
			t.Fatal(err)
		}
		for _, evil := range forgeries {
			var out bytes.Buffer
			log := newLogger(c, slog.LevelDebug, &out)
			log.Info("a client", "user", evil, "err", errors.New(evil), "list", []string{evil}, "raw", []byte(evil))
			log.With(slog.Group("g", slog.String("in", evil))).Debug(evil) //nolint:sloglint // as what clients say might be
			records := readLog(t, format, out.String())
			if len(records) != 2 {
				t.Fatalf("%s: %q made %d records:\n%s", format, evil, len(records), out.String())
			}
			if got := records[0]; got["level"] != "INFO" || got["user"] != evil || got["err"] != evil {
				t.Errorf("%s: %q is read as %v", format, evil, got)
			}
			if got := records[1]; got["level"] != "DEBUG" || got["msg"] != evil {
				t.Errorf("%s: %q is read as %v", format, evil, got)
			}
		}
	}
}
