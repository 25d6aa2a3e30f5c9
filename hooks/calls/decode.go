package calls

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Decode is json.Unmarshal for the body of a call. A key of the call that is there twice is an error, and every error is
// worded for people; what callers give as data of their own may hold what JSON allows.
func Decode(b []byte, into any) error {
	err := json.Unmarshal(b, into)
	if err == nil {
		err = once(b, reflect.TypeOf(into))
	}
	if err != nil {
		return errors.New(jsonFault(err))
	}
	return nil
}

// strictJSON decodes an object without unknown keys, and without one that is there twice.
func strictJSON(b []byte, into any) error {
	if b = bytes.TrimSpace(b); len(b) == 0 || b[0] != '{' {
		return errNoObject
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return once(b, reflect.TypeOf(into))
}

var (
	errNoObject = errors.New("they are a JSON object")
	errTrailing = errors.New("something follows the JSON object")
)

// jsonFault words an error of encoding/json for people.
func jsonFault(err error) string {
	if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
		value := "a " + t.Value
		if strings.HasPrefix(t.Value, "array") || strings.HasPrefix(t.Value, "object") {
			value = "an " + t.Value
		}
		if t.Field == "" {
			return value + " is not what belongs here"
		}
		return t.Field + " cannot be " + value
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// once refuses an object, or one in it, that has a key of t twice: of two values the last would count, whatever who looked at
// the request before took for its meaning. b is valid for t.
func once(b []byte, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if b = bytes.TrimSpace(b); len(b) == 0 || !hasKeys(t) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	var value json.RawMessage
	switch {
	case b[0] == '{':
		_, _ = d.Token()
		for seen := map[string]bool{}; d.More(); {
			key, err := d.Token()
			if err != nil {
				return err
			}
			if err := d.Decode(&value); err != nil {
				return err
			}
			sent := key.(string) // JSON knows no other keys
			name, of := keyOf(t, sent)
			if seen[name] {
				return fmt.Errorf("it has %.40q twice", sent)
			}
			if seen[name] = true; of != nil {
				if err := once(value, of); err != nil {
					return err
				}
			}
		}
	case b[0] == '[' && t.Kind() == reflect.Slice:
		_, _ = d.Token()
		for d.More() {
			if err := d.Decode(&value); err != nil {
				return err
			}
			if err := once(value, t.Elem()); err != nil {
				return err
			}
		}
	}
	return nil
}

var (
	rawJSON     = reflect.TypeFor[json.RawMessage]()
	ownDecoding = reflect.TypeFor[json.Unmarshaler]()
)

// hasKeys reports whether JSON has keys of ours for a value of t, or for what is in it.
func hasKeys(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return true
	case reflect.Pointer, reflect.Slice:
		return t != rawJSON && hasKeys(t.Elem())
	}
	return false
}

// keyOf returns the name of what a key of an object of t is decoded into, and its type; nil where that is not to be looked into.
func keyOf(t reflect.Type, key string) (name string, of reflect.Type) {
	switch {
	case reflect.PointerTo(t).Implements(ownDecoding): // which asks for what is in it
	case t.Kind() == reflect.Map:
		return key, t.Elem()
	case t.Kind() == reflect.Struct:
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				if name, of := keyOf(f.Type, key); of != nil {
					return name, of
				}
			case f.IsExported() && name != "-" && strings.EqualFold(cmp.Or(name, f.Name), key): // as encoding/json finds it
				return cmp.Or(name, f.Name), f.Type
			}
		}
	}
	return key, nil
}
