package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// frame is a function as it was called from one place of the graph.
type frame struct {
	name     string
	value    int64 // of it and of what it called
	children map[string]*frame
}

// fold adds the samples of a profile up by their stacks. The value is the last of the profile's: time for a CPU profile.
func fold(p *profile.Profile) *frame {
	root := &frame{name: "all", children: map[string]*frame{}}
	for _, s := range p.Sample {
		v := s.Value[len(s.Value)-1]
		root.value += v
		at := root
		for _, loc := range slices.Backward(s.Location) {
			for _, line := range slices.Backward(loc.Line) {
				at = at.child(line.Function.Name)
				at.value += v
			}
		}
	}
	return root
}

func (f *frame) child(name string) *frame {
	c := f.children[name]
	if c == nil {
		c = &frame{name: name, children: map[string]*frame{}}
		f.children[name] = c
	}
	return c
}

// sorted returns the children by name, so that two graphs of the same code look alike.
func (f *frame) sorted() []*frame {
	return slices.SortedFunc(maps.Values(f.children), func(a, b *frame) int { return cmp.Compare(a.name, b.name) })
}

// depth is the number of frames above f that are wide enough to be drawn.
func (f *frame) depth(least int64) int {
	d := 0
	for _, c := range f.children {
		if c.value >= least {
			d = max(d, 1+c.depth(least))
		}
	}
	return d
}

// short is a function's name without the path of its package. Slashes in type arguments are no part of that.
func short(name string) string {
	path := name
	if i := strings.IndexAny(name, "(["); i >= 0 {
		path = name[:i]
	}
	return name[strings.LastIndexByte(path, '/')+1:]
}
