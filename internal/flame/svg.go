package main

import (
	"encoding/xml"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
)

const (
	width  = 1200.0
	row    = 17
	margin = 10
	head   = 40
	letter = 6.6 // width of a letter of the 11-pixel font
)

// draw writes the graph as an SVG picture, root below. Frames below the least share of all are left out.
func draw(w io.Writer, title string, root *frame, least float64) {
	narrow := int64(least * float64(root.value))
	height := head + (root.depth(narrow)+1)*row + margin
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" font-family="monospace" font-size="11">`+"\n",
		width+2*margin, height)
	fmt.Fprintf(w, `<rect width="100%%" height="100%%" fill="#fff"/><text x="%d" y="24" font-size="15">%s</text>`+"\n", margin, escape(title))
	box(w, root, root, margin, float64(height-margin-row), narrow)
	fmt.Fprintln(w, "</svg>")
}

func box(w io.Writer, root, f *frame, x, y float64, least int64) {
	share := float64(f.value) / float64(root.value)
	wide := share * width
	name := short(f.name)
	fmt.Fprintf(w, `<g><title>%s %.1f%%</title><rect x="%.1f" y="%.0f" width="%.1f" height="%d" fill="%s" stroke="#fff" stroke-width="0.5"/>`,
		escape(f.name), 100*share, x, y, wide, row, colour(f.name))
	if n := int((wide - 6) / letter); n >= 3 {
		if len(name) > n {
			name = name[:n-1] + "…"
		}
		fmt.Fprintf(w, `<text x="%.1f" y="%.0f">%s</text>`, x+3, y+12, escape(name))
	}
	fmt.Fprintln(w, "</g>")
	for _, c := range f.sorted() {
		if c.value >= least {
			box(w, root, c, x, y-row, least)
		}
		x += float64(c.value) / float64(root.value) * width
	}
}

// colour tells the kernel, the runtime, libraries and Madang itself apart; the shade is the function's own.
func colour(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	shade := int(h.Sum32() % 30)
	switch {
	case strings.HasPrefix(name, "github.com/madang-chat/"):
		return fmt.Sprintf("hsl(24,90%%,%d%%)", 62+shade/2)
	case strings.HasPrefix(name, "internal/runtime/syscall"), strings.HasPrefix(name, "syscall."):
		return fmt.Sprintf("hsl(0,65%%,%d%%)", 66+shade/2)
	case strings.HasPrefix(name, "runtime."), strings.HasPrefix(name, "internal/"), strings.HasPrefix(name, "sync."):
		return fmt.Sprintf("hsl(210,45%%,%d%%)", 72+shade/2)
	}
	return fmt.Sprintf("hsl(90,35%%,%d%%)", 70+shade/2)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}
