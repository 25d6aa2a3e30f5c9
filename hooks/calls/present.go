package calls

import (
	"bytes"
	"strconv"

	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/storage"
)

// present appends a message in its present form: as delivered, with what its newest edit says (nil = none), and what came
// of it.
func present(dst []byte, e *storage.Entry, f *storage.Fold, edit *storage.Entry) []byte {
	message := e.JSON
	if edit == nil || edit.Erased > 0 {
		dst = append(dst, message[:len(message)-1]...)
	} else {
		from, said := contentAt(edit.JSON)
		upto, _ := contentAt(message)
		dst = append(dst, message[:upto]...)
		// In type text data is always an object (design.md section 3, Sending).
		if data := edit.JSON[said : len(edit.JSON)-1]; e.Type == envelope.TypeText && from == said-len(dataName) && data[0] == '"' {
			dst = append(append(append(dst, `,"data":{"text":`...), data...), '}')
		} else {
			dst = append(dst, edit.JSON[from:len(edit.JSON)-1]...)
		}
		dst = strconv.AppendUint(append(dst, `,"edited":{"seq":`...), edit.Seq, 10)
		dst = append(strconv.AppendInt(append(dst, `,"ts":`...), edit.TS, 10), '}')
	}
	for i, r := range f.Reactions {
		if i == 0 {
			dst = append(dst, `,"reactions":{`...)
		} else {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(append(envelope.AppendString(dst, r.Emoji), ':'), r.N, 10)
	}
	if len(f.Reactions) > 0 {
		dst = append(dst, '}')
	}
	if f.Replies > 0 {
		dst = strconv.AppendUint(append(dst, `,"replies":`...), f.Replies, 10)
	}
	return append(dst, '}')
}

// What a message says stands at the end of its delivered form (envelope.Message.AppendTail).
const (
	dataName     = `,"data":`
	encodingName = `,"encoding":"base64"`
)

// contentAt returns where what a delivered message says begins, with the comma before it: its encoding, if it has one, and
// its data; and where the value of data begins.
func contentAt(message []byte) (from, data int) {
	from, data = len(message)-1, len(message)-1
	eachMember(message, func(at int) bool {
		if !bytes.HasPrefix(message[at:], []byte(dataName)) {
			return true
		}
		from, data = at, at+len(dataName)
		if before := at - len(encodingName); before > 0 && bytes.HasPrefix(message[before:], []byte(encodingName)) {
			from = before
		}
		return false
	})
	return from, data
}

// eachMember calls f where a member of a delivered message begins, but for the first, with the comma before it, and where
// the last one ends, until f says stop. The text of a message may hold anything, also what looks like a member.
func eachMember(message []byte, f func(at int) (more bool)) {
	depth, inString := 0, false
	for i := 0; i < len(message); i++ {
		c := message[i]
		if inString {
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
			continue
		}
		switch c {
		case '"':
			inString = true
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if (c == ',' && depth == 1 || depth == 0) && !f(i) {
			return
		}
	}
}
