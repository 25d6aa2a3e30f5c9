package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// The lines between which a document holds what is generated.
const (
	begin = "<!-- bench-peers: begin -->"
	end   = "<!-- bench-peers: end -->"
)

// blank is a document that is not there yet.
const blank = "# Performance\n\n" + begin + "\n" + end + "\n"

// replace returns the document with another text between the markers, which stand on lines of their own. Everything
// outside them stays as it is.
func replace(document, text string) (string, error) {
	lines := strings.SplitAfter(document, "\n")
	from, to := -1, -1
	for i, l := range lines {
		switch strings.TrimSpace(l) {
		case begin:
			if from >= 0 {
				return "", fmt.Errorf("two lines are %s", begin)
			}
			from = i
		case end:
			if to >= 0 {
				return "", fmt.Errorf("two lines are %s", end)
			}
			to = i
		}
	}
	if from < 0 || to < from {
		return "", fmt.Errorf("it needs a line %s and after it a line %s", begin, end)
	}
	return strings.Join(lines[:from+1], "") + "\n" + strings.Trim(text, "\n") + "\n\n" + strings.Join(lines[to:], ""), nil
}

// readDocument returns the text of a document, a blank one when it is not there.
func readDocument(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return blank, nil
	}
	return string(text), err
}

// check fails when writeInto would.
func check(file string) error {
	old, err := readDocument(file)
	if err == nil {
		_, err = replace(old, "")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// writeInto puts a text between the markers of a document.
func writeInto(file, text string) error {
	old, err := readDocument(file)
	if err != nil {
		return err
	}
	all, err := replace(old, text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(all), 0o644)
}
