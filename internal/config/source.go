package config

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is matched by every error about what a configuration says (exit code 78).
var ErrInvalid = errors.New("invalid configuration")

// Layer is a kind of place a value may come from, weakest first.
type Layer int

// Layers in rising order: a value of a later one wins.
const (
	Default Layer = iota
	DevDefault
	File
	Env
	Flag
)

// Source is the place that set a value.
type Source struct {
	Layer Layer
	Name  string // path of the file, name of the variable, the flag as written
	Line  int    // of the file
}

// String returns what a person has to look at to change the value.
func (s Source) String() string {
	switch s.Layer {
	case DevDefault:
		return "--dev"
	case File:
		if s.Line > 0 {
			return fmt.Sprintf("%s:%d", s.Name, s.Line)
		}
		return s.Name
	case Env, Flag:
		return s.Name
	}
	return "default"
}

// Error is one thing that is wrong with a configuration.
type Error struct {
	Source Source
	Key    string // "" when it is about no single key
	Msg    string
}

// Error returns where it was said, what it is about and what is wrong, in one line.
func (e *Error) Error() string {
	s := e.Source.String()
	if e.Key != "" && !strings.Contains(s, e.Key) {
		s += ": " + e.Key
	}
	return s + ": " + e.Msg
}

// Is makes every Error match ErrInvalid.
func (e *Error) Is(target error) bool { return target == ErrInvalid }
