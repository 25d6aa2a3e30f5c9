package envelope

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/problem"
)

const (
	tailData     = `,"data":`
	tailEncoding = `,"encoding":"base64"`
	tailDepth    = 1 << 10 // what Parse let through is let through again
)

// DataOf returns the data in what AppendTail wrote, and whether it is bytes in base64; nil when there is none. It aliases tail.
func DataOf(tail []byte) (data []byte, base64 bool) {
	if len(tail) == 0 {
		return nil, false
	}
	b := make([]byte, 0, len(tail)+1)
	b = append(append(append(b, '{'), tail[1:]...), '}')
	m := members{b: b, depth: tailDepth}
	for {
		key, value, v, more := m.next()
		if !more || v != valid {
			break
		}
		switch string(key) {
		case `"encoding"`:
			base64 = true
		case `"data"`:
			data = value
		}
	}
	if n := len(tail) - len(data); data == nil || n < 0 || !bytes.HasSuffix(tail[:n], []byte(tailData)) {
		return nil, false
	}
	return tail[len(tail)-len(data):], base64
}

// ReplaceData returns tail with other data, a JSON value, which is judged as that of an envelope of the type is.
func ReplaceData(typ string, tail, data []byte) ([]byte, *problem.Problem) {
	old, base64 := DataOf(tail)
	if old == nil || len(data) == 0 || !utf8.Valid(data) || !json.Valid(data) {
		return nil, problem.New(problem.BadPayload, "data is a JSON value in UTF-8.")
	}
	payload := []byte(`{"data":`)
	if typ == TypeEdit || typ == TypeDelete || typ == TypeReaction { // of what is said already
		payload = []byte(`{"target":1,"data":`)
	}
	m, bad := Parse(typ, append(append(payload, data...), '}'), Options{})
	if bad != nil {
		return nil, bad
	}
	out := bytes.TrimSuffix(tail[:len(tail)-len(old)], []byte(tailData))
	if base64 {
		out = bytes.TrimSuffix(out, []byte(tailEncoding))
	}
	out = append(append(make([]byte, 0, len(out)+len(m.Data)+len(tailData)), out...), tailData...)
	return append(out, m.Data...), nil
}
