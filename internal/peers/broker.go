package main

import (
	"path/filepath"
	"strconv"
	"strings"
)

// broker is something that can be measured.
type broker struct {
	name    string
	version string
	program string // its path
	plain   bool   // it has topics, not Madang's rooms

	// How it is started: {port}, {dir} and {file} stand for the port it listens on, the directory for its data, and the
	// file that holds config.
	args   []string
	config string // "" = it has no such file
	remark string // what else there is to know of the configuration
}

// The names that the comparison treats in a special way.
const (
	ours   = "madang"
	kernel = "null"
)

// place is where one run of a broker happens.
type place struct {
	port int
	dir  string
}

// shown is the place that a document shows instead of the one of a run.
var shown = place{port: 1883, dir: "DIR"}

func (p place) file() string { return filepath.Join(p.dir, "broker.conf") }

// fill puts the place into an argument or a configuration.
func (p place) fill(text string) string {
	return strings.NewReplacer("{port}", strconv.Itoa(p.port), "{dir}", p.dir, "{file}", p.file()).Replace(text)
}

func (p place) fillAll(args []string) []string {
	all := make([]string, len(args))
	for i, a := range args {
		all[i] = p.fill(a)
	}
	return all
}
