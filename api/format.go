package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/madang-chat/madang/hooks/calls"
)

// appender is a result that writes its own JSON, because messages must keep their bytes.
type appender interface{ AppendJSON(dst []byte) []byte }

// jsonFormat is how bodies are written and read. What a client is no longer there to read is no error.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		if a, ok := v.(appender); ok {
			_, _ = w.Write(append(a.AppendJSON(nil), '\n'))
			return nil
		}
		if raw, ok := v.(json.RawMessage); ok {
			_, _ = w.Write(append(bytes.Clone(raw), '\n'))
			return nil
		}
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return err
		}
		_, _ = w.Write(b.Bytes())
		return nil
	},
	Unmarshal: func(b []byte, v any) error {
		if !utf8.Valid(b) { // encoding/json would put other characters in the place of what is none
			return errors.New("JSON is UTF-8")
		}
		return calls.Decode(b, v)
	},
}

// optional is a query parameter that may be absent, which is not the same as 0.
type optional[T any] struct {
	Value T
	Set   bool
}

// Schema is that of the value.
func (o optional[T]) Schema(r huma.Registry) *huma.Schema {
	return huma.SchemaFromType(r, reflect.TypeOf(o.Value))
}

// Receiver is where huma puts the value.
func (o *optional[T]) Receiver() reflect.Value { return reflect.ValueOf(o).Elem().Field(0) }

// OnParamSet notes whether there was one.
func (o *optional[T]) OnParamSet(set bool, _ any) { o.Set = set }

// pointer is the value, nil when there was none.
func (o *optional[T]) pointer() *T {
	if !o.Set {
		return nil
	}
	return &o.Value
}
