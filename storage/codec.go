package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Limits of what cbor may build from stored or logged bytes. Nesting of our types is at most 4.
const (
	cborMaxNested   = 8
	cborMaxElements = 1 << 20
)

// Strings that are not UTF-8 must come back as they were written: refusing them here would mean that a command which is
// already in the log stops every node that reads it.
var (
	cborDec = mustMode(cbor.DecOptions{
		MaxNestedLevels: cborMaxNested, MaxArrayElements: cborMaxElements, MaxMapPairs: 64,
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8DecodeInvalid,
	}.DecMode())
	cborEnc = mustMode(cbor.EncOptions{}.EncMode())
)

func mustMode[M any](m M, err error) M {
	if err != nil {
		panic(fmt.Sprintf("storage: cbor options: %v", err)) // constants of this file
	}
	return m
}

// mustCBOR encodes a record of this package; such types can always be encoded.
func mustCBOR(v any) []byte {
	b, err := cborEnc.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("storage: encode %T: %v", v, err))
	}
	return b
}

const recordVersion = 1

// encodeRecord returns the stored form of a record that is read and written as a whole: version, CBOR.
func encodeRecord(v any) []byte {
	body := mustCBOR(v)
	return append(append(make([]byte, 0, 1+len(body)), recordVersion), body...)
}

// decodeRecord reads what encodeRecord wrote.
func decodeRecord(b []byte, v any) error {
	r := readRecord(b, recordVersion)
	if r.bad {
		return errors.New("unknown version")
	}
	return cborDec.Unmarshal(r.b, v)
}

// reader takes a stored value apart and remembers whether anything was wrong with it.
type reader struct {
	b   []byte
	bad bool
}

// readRecord starts reading a value that must begin with version.
func readRecord(b []byte, version byte) reader {
	if len(b) == 0 || b[0] != version {
		return reader{bad: true}
	}
	return reader{b: b[1:]}
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// fixed returns the next n bytes; they alias the value.
func (r *reader) fixed(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// sized returns the next bytes with their length in front; they alias the value.
func (r *reader) sized() []byte { return r.fixed(r.uvarint()) }

// end reports whether the whole value was read and made sense.
func (r *reader) end() bool { return !r.bad && len(r.b) == 0 }

func appendSized[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
