package storage

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/madang-chat/madang/storage/text"
)

// TypeText is the type of messages whose data is {"text":"..."}.
const TypeText = "text"

// wordsOf returns what is searched of a message, folded: in type text data.text, in any other type data if it is a string,
// or its members that are strings, in their order. edit is its newest edit, nil = none. "" when there is nothing.
func wordsOf(e, edit *Entry) string {
	if !e.Message() || e.Erased > 0 {
		return ""
	}
	said := e.JSON
	if edit != nil && edit.Erased == 0 {
		said = edit.JSON
	}
	return text.Fold(saidIn(said, e.Type == TypeText))
}

// textMember is how what a message of type text says begins, when it is all that it says.
var textMember = []byte(`,"data":{"text":"`)

// plainText is saidIn for messages that say nothing but a text without escapes: nearly all there are. What a message says
// stands at its end, and within a string no quote stands by itself.
func plainText(message []byte) (string, bool) {
	_, s, ok := bytes.Cut(message, textMember)
	if !ok {
		return "", false
	}
	n := bytes.IndexByte(s, '"')
	if n < 0 || string(s[n:]) != `"}}` || bytes.IndexByte(s[:n], '\\') >= 0 {
		return "", false
	}
	return string(s[:n]), true
}

// saidIn takes the text out of a delivered form.
func saidIn(message []byte, textOnly bool) string {
	if s, ok := plainText(message); ok {
		return s
	}
	var m struct {
		Encoding string          `json:"encoding"`
		Data     json.RawMessage `json:"data"`
	}
	if json.Unmarshal(message, &m) != nil || m.Encoding != "" || len(m.Data) == 0 {
		return ""
	}
	switch m.Data[0] {
	case '"':
		var s string
		_ = json.Unmarshal(m.Data, &s) // it was valid a moment ago
		return s
	case '{':
		return strings.Join(stringsIn(m.Data, textOnly), "\n")
	}
	return ""
}

// stringsIn returns the members of a JSON object that are strings, in their order, as much of them as is searched; with
// textOnly that of the name text alone.
func stringsIn(object []byte, textOnly bool) (out []string) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return nil
	}
	for size := 0; d.More() && size < 4*text.MaxText; {
		name, err := d.Token()
		if err != nil {
			return out
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return out
		}
		if value[0] != '"' || textOnly && name != "text" {
			continue
		}
		var s string
		_ = json.Unmarshal(value, &s)
		if textOnly {
			return []string{s}
		}
		out, size = append(out, s), size+len(s)
	}
	return out
}
