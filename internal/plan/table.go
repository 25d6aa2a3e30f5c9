package main

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// table is a Markdown table.
type table struct {
	title string
	note  string // below the title, may be empty
	head  []string
	rows  [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(out *bytes.Buffer, number int) {
	fmt.Fprintf(out, "**Table %d. %s**", number, t.title)
	if t.note != "" {
		fmt.Fprintf(out, " %s", t.note)
	}
	fmt.Fprintf(out, "\n\n| %s |\n|%s\n", strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
	for _, r := range t.rows {
		fmt.Fprintf(out, "| %s |\n", strings.Join(r, " | "))
	}
	out.WriteByte('\n')
}

// number writes x with three digits that count, in groups of three.
func number(x float64) string {
	if x == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	p := math.Pow10(digits)
	x = math.Round(x*p) / p
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(x, 'f', max(digits, 0), 64), ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

// count writes n with all its digits, in groups of three.
func count[T ~int | ~int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func percent(x float64) string { return number(100*x) + " %" }

// duration writes d in ms below a second, else in s.
func duration(d time.Duration) string {
	if d < time.Second {
		return number(float64(d)/float64(time.Millisecond)) + " ms"
	}
	return number(d.Seconds()) + " s"
}

func seconds(s float64) string { return duration(time.Duration(s * float64(time.Second))) }

// binary writes bytes in GiB, or in MiB below one GiB.
func binary(bytes float64) string {
	if bytes < float64(gib) {
		return number(bytes/(1<<20)) + " MiB"
	}
	return number(bytes/float64(gib)) + " GiB"
}

func gigabits(bitsPerSecond float64) string { return number(bitsPerSecond / float64(gigabit)) }
