package envelope

import (
	"bytes"
	"encoding/json"
)

// verdict is what the scanner says about some bytes.
type verdict uint8

const (
	valid   verdict = iota
	invalid         // no JSON
	deep            // JSON so far, nested deeper than allowed; the rest was not looked at
)

// The scanner accepts exactly what json.Valid accepts, within a depth, and what only its own limit of depth keeps from that. It is written by hand because the envelope needs
// the bytes of each member as they were sent, duplicate keys and the depth, in one pass and without memory.
//
// Every scan function takes the place of a token's first byte and returns the place after its last.

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// trim takes JSON's white space off both ends.
func trim(b []byte) []byte { return bytes.Trim(b, " \n\t\r") }

// scanValue scans any value; depth is how many containers it may still open.
func scanValue(b []byte, i, depth int) (int, verdict) {
	if i >= len(b) {
		return i, invalid
	}
	switch c := b[i]; {
	case c == '{':
		m := members{b: b, i: i, depth: depth}
		for {
			_, _, v, more := m.next()
			if !more {
				return m.i, v
			}
		}
	case c == '[':
		e := elements{b: b, i: i, depth: depth}
		for {
			_, v, more := e.next()
			if !more {
				return e.i, v
			}
		}
	case c == '"':
		return scanString(b, i)
	case c == '-' || (c >= '0' && c <= '9'):
		return scanNumber(b, i)
	case c == 't':
		return scanWord(b, i, "true")
	case c == 'f':
		return scanWord(b, i, "false")
	case c == 'n':
		return scanWord(b, i, "null")
	}
	return i, invalid
}

func scanWord(b []byte, i int, word string) (int, verdict) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, invalid
	}
	return i + len(word), valid
}

func scanString(b []byte, i int) (int, verdict) {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, valid
		case c < 0x20:
			return i, invalid
		case c == '\\':
			i++
			if i >= len(b) {
				return i, invalid
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if len(b)-i < 5 {
					return i, invalid
				}
				for range 4 {
					i++
					if !isHex(b[i]) {
						return i, invalid
					}
				}
			default:
				return i, invalid
			}
		}
	}
	return i, invalid
}

func isHex(c byte) bool {
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')
}

func scanNumber(b []byte, i int) (int, verdict) {
	if b[i] == '-' {
		i++
	}
	start := i
	i = skipDigits(b, i)
	if i == start || (b[start] == '0' && i > start+1) {
		return i, invalid
	}
	if i < len(b) && b[i] == '.' {
		start = i + 1
		if i = skipDigits(b, start); i == start {
			return i, invalid
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start = i
		if i = skipDigits(b, start); i == start {
			return i, invalid
		}
	}
	return i, valid
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// members walks over the members of the object that begins at b[i].
type members struct {
	b     []byte
	i     int
	depth int
	open  bool
}

// next returns the next member: its key with the quotes, and its value. more is false at the end; the verdict then is
// about the whole object, and m.i the place after it.
func (m *members) next() (key, value []byte, v verdict, more bool) {
	b := m.b
	if !m.open {
		if m.depth <= 0 {
			return nil, nil, deep, false
		}
		m.open = true
		m.i = skipSpace(b, m.i+1)
		if m.i < len(b) && b[m.i] == '}' {
			m.i++
			return nil, nil, valid, false
		}
	} else {
		m.i = skipSpace(b, m.i)
		if m.i >= len(b) {
			return nil, nil, invalid, false
		}
		switch b[m.i] {
		case '}':
			m.i++
			return nil, nil, valid, false
		case ',':
			m.i = skipSpace(b, m.i+1)
		default:
			return nil, nil, invalid, false
		}
	}
	if m.i >= len(b) || b[m.i] != '"' {
		return nil, nil, invalid, false
	}
	start := m.i
	if m.i, v = scanString(b, start); v != valid {
		return nil, nil, v, false
	}
	key = b[start:m.i]
	m.i = skipSpace(b, m.i)
	if m.i >= len(b) || b[m.i] != ':' {
		return nil, nil, invalid, false
	}
	start = skipSpace(b, m.i+1)
	if m.i, v = scanValue(b, start, m.depth-1); v != valid {
		return nil, nil, v, false
	}
	return key, b[start:m.i], valid, true
}

// elements walks over the elements of the array that begins at b[i].
type elements struct {
	b     []byte
	i     int
	depth int
	open  bool
}

// next returns the next element. more is false at the end; the verdict then is about the whole array, and e.i the place
// after it.
func (e *elements) next() (value []byte, v verdict, more bool) {
	b := e.b
	if !e.open {
		if e.depth <= 0 {
			return nil, deep, false
		}
		e.open = true
		e.i = skipSpace(b, e.i+1)
		if e.i < len(b) && b[e.i] == ']' {
			e.i++
			return nil, valid, false
		}
	} else {
		e.i = skipSpace(b, e.i)
		if e.i >= len(b) {
			return nil, invalid, false
		}
		switch b[e.i] {
		case ']':
			e.i++
			return nil, valid, false
		case ',':
			e.i = skipSpace(b, e.i+1)
		default:
			return nil, invalid, false
		}
	}
	start := e.i
	if e.i, v = scanValue(b, start, e.depth-1); v != valid {
		return nil, v, false
	}
	return b[start:e.i], valid, true
}

// scanWhole judges b, which has no white space around it, as one value.
func scanWhole(b []byte, depth int) verdict {
	end, v := scanValue(b, 0, depth)
	if v == valid && end != len(b) {
		return invalid
	}
	return settle(b, v)
}

// settle finds out whether what is too deep is JSON at all. Nothing else is looked at a second time.
func settle(b []byte, v verdict) verdict {
	if v == deep && !isJSON(b) {
		return invalid
	}
	return v
}

// isJSON reports whether b, which has no white space around it, is one value, however deep it is nested: the standard library
// gives up at 10,000 levels, and takes what is deeper for no JSON.
func isJSON(b []byte) bool {
	var open []byte // the brackets that close what is open
	for i := 0; ; {
		if len(open) > 0 && open[len(open)-1] == '}' {
			end, v := scanKey(b, i)
			if v != valid {
				return false
			}
			i = end
		}
		if i = skipSpace(b, i); i < len(b) && (b[i] == '{' || b[i] == '[') {
			open = append(open, b[i]+2) // as ASCII has them
			if i = skipSpace(b, i+1); i >= len(b) || b[i] != open[len(open)-1] {
				continue
			}
		} else {
			end, v := scanValue(b, i, 0)
			if v != valid {
				return false
			}
			i = end
		}
		for i = skipSpace(b, i); len(open) > 0 && i < len(b) && b[i] == open[len(open)-1]; i = skipSpace(b, i+1) {
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return i == len(b)
		}
		if i >= len(b) || b[i] != ',' {
			return false
		}
		i++
	}
}

// scanKey scans a key and the colon after it.
func scanKey(b []byte, i int) (int, verdict) {
	if i = skipSpace(b, i); i >= len(b) || b[i] != '"' {
		return i, invalid
	}
	i, v := scanString(b, i)
	if i = skipSpace(b, i); v != valid || i >= len(b) || b[i] != ':' {
		return i, invalid
	}
	return i + 1, valid
}

// unquote returns what a valid JSON string with its quotes says.
func unquote(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return string(inner) // not reached: the scanner has accepted it
	}
	return s
}
