package calls

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// Decode is json.Unmarshal for the body of a call, with errors that are worded for people.
func Decode(b []byte, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		return errors.New(jsonFault(err))
	}
	return nil
}

// strictJSON decodes an object without unknown keys.
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
	return nil
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
