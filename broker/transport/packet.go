package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxPacketLength is the largest remaining length that MQTT can express.
const MaxPacketLength = 268_435_455

// TooLargeError tells which packet was above the limit. errors.Is(err, ErrTooLarge) is true.
type TooLargeError struct {
	First  byte // the fixed header's first byte: type and flags
	Length int  // the remaining length; none of it has been consumed
	Limit  int
}

// Error names both sizes.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("packet of %d bytes is above the limit of %d", e.Length, e.Limit)
}

// Unwrap returns ErrTooLarge.
func (e *TooLargeError) Unwrap() error { return ErrTooLarge }

// PacketReader cuts a byte stream into MQTT control packets. While it waits for a packet to begin it holds no buffer;
// a body takes memory only as its bytes arrive, whatever length is claimed. It belongs to one goroutine.
type PacketReader struct {
	r     io.Reader
	conn  *Conn // r, when it can wait without a buffer
	store *store
	rd    int // store.b[rd:wr] has been read and not consumed
	wr    int
	skip  int // bytes of an oversize body not consumed yet
	need  int // length of the body being read, or read last
	first byte
	body  bool     // the header has been consumed, the body not yet
	small [16]byte // waits for the first bytes where r needs a buffer for that

	onPuback func(id uint16)
	onPacket func(first byte, body []byte) bool
}

// NewPacketReader reads packets from r. A Conn of this package is waited for without any buffer.
func NewPacketReader(r io.Reader) *PacketReader {
	pr := &PacketReader{r: r}
	if c, ok := r.(*Conn); ok && c.tls == nil {
		pr.conn = c
	}
	return pr
}

// OnPuback sets a function that is given the ids of PUBACKs as they arrive, instead of Next returning them. It must not
// block nor close the connection. It may be left out, and Next returns some all the same: those with a reason code, in
// the middle of other packets, or of a connection over TLS or WebSocket.
//
// A reader of a room says little else, and these are taken as they lie in the buffer: without a goroutine, and without a
// way through the packets' decoder and back for each. So f may run on any goroutine, but never on two at once.
func (pr *PacketReader) OnPuback(f func(id uint16)) { pr.onPuback = f }

// OnPacket sets a function that is offered the packets of a resting connection, one by one, before a goroutine is started
// for them. It returns true when it has dealt with one, which must not block, and false, having done nothing, when that
// and all that follows is for Next. body is valid during the call only.
func (pr *PacketReader) OnPacket(f func(first byte, body []byte) bool) { pr.onPacket = f }

// offer hands over what b begins with, as far as it is taken, and returns the rest.
func (pr *PacketReader) offer(b []byte) []byte {
	for {
		b = pr.pubacks(b)
		if len(b) < 2 || pr.onPacket == nil {
			return b
		}
		length, size, err := remainingLength(b[1:])
		end := 1 + size + length
		if err != nil || size == 0 || end > len(b) || !pr.onPacket(b[0], b[1+size:end:end]) {
			return b
		}
		b = b[end:]
	}
}

// pubacks hands over the PUBACKs that b begins with, and returns the rest.
func (pr *PacketReader) pubacks(b []byte) []byte {
	for len(b) >= 4 && b[0] == 0x40 && b[1] == 2 {
		pr.onPuback(binary.BigEndian.Uint16(b[2:]))
		b = b[4:]
	}
	return b
}

// Idle reports that the client has nothing to say just now and that its connection can rest: the Handler may return what
// goes on with this reader later. It does not wait. What the client said may be read by it.
func (pr *PacketReader) Idle() bool {
	if pr.conn == nil || pr.conn.desc == nil || pr.rd < pr.wr || pr.body || pr.skip > 0 {
		return false
	}
	pr.release()
	for {
		bytes, other := pr.conn.desc.due()
		if other {
			return false
		}
		if !bytes {
			pr.conn.reader = pr
			return true
		}
		n, err := pr.conn.tryRead(pr)
		if n > 0 || err != nil {
			pr.wr = n
			return false // an error comes again
		}
	}
}

// Next reads one packet and returns the first byte of its fixed header and its body. The body is valid until the next
// call of any method but Own and Buffered, and may be changed. Above limit it returns a TooLargeError with the body
// untouched: Peek and Discard see to that, and what is left of it is skipped by the next Next. io.EOF means that the
// stream ended between two packets. After a time-out Next may be called again and goes on where it was.
//
// A remaining length written with more bytes than needed is accepted, as all brokers do.
func (pr *PacketReader) Next(limit int) (first byte, body []byte, err error) {
	if pr.skip > 0 {
		if err := pr.Discard(pr.skip); err != nil {
			return 0, nil, err
		}
	}
	if !pr.body {
		if err := pr.header(limit); err != nil {
			return pr.first, nil, err
		}
	}
	for pr.wr-pr.rd < pr.need {
		if err := pr.more(pr.need); err != nil {
			return pr.first, nil, err
		}
	}
	pr.rd += pr.need
	pr.body = false
	return pr.first, pr.store.b[pr.rd-pr.need : pr.rd : pr.rd], nil
}

// Own returns the body of the last Next as memory of the caller's own: the buffer itself for a large body that fills
// most of it, else a copy. The body Next returned must not be used any more.
func (pr *PacketReader) Own() []byte {
	if pr.store == nil || pr.body || pr.skip > 0 || pr.rd < pr.need {
		return nil
	}
	body := pr.store.b[pr.rd-pr.need : pr.rd : pr.rd]
	if len(pr.store.b) > storeSize && pr.rd == pr.wr && 2*pr.need > len(pr.store.b) {
		pr.store, pr.rd, pr.wr, pr.need = nil, 0, 0, 0
		return body
	}
	return bytes.Clone(body)
}

// Buffered is how many bytes after the last packet have already been read. With 0 the client has likely nothing more
// to say just now, which is the moment to flush the answers.
func (pr *PacketReader) Buffered() int { return pr.wr - pr.rd }

// Peek returns the first n bytes, or all if it has less, of the oversize body that the last Next refused, without
// consuming them. They are valid until the next call.
func (pr *PacketReader) Peek(n int) ([]byte, error) {
	n = min(n, pr.skip)
	if n <= 0 {
		return nil, nil
	}
	for pr.wr-pr.rd < n {
		if err := pr.more(n); err != nil {
			return nil, err
		}
	}
	return pr.store.b[pr.rd : pr.rd+n], nil
}

// Discard reads and throws away n bytes, or all that is left, of the oversize body that the last Next refused. It holds
// one read buffer at most.
func (pr *PacketReader) Discard(n int) error {
	for n = min(n, pr.skip); n > 0; {
		if pr.rd == pr.wr {
			if err := pr.await(); err != nil {
				return unexpected(err)
			}
		}
		k := min(n, pr.wr-pr.rd)
		pr.rd += k
		pr.skip -= k
		n -= k
	}
	return nil
}

// header consumes a fixed header. It leaves the stream at the start of the body.
func (pr *PacketReader) header(limit int) error {
	pr.first = 0
	if pr.rd == pr.wr {
		if err := pr.await(); err != nil {
			return err
		}
	}
	for {
		length, size, err := remainingLength(pr.store.b[pr.rd+1 : pr.wr])
		if err != nil {
			return err
		}
		if size > 0 {
			pr.first = pr.store.b[pr.rd]
			pr.rd += 1 + size
			if length > limit {
				pr.skip, pr.need = length, 0
				return &TooLargeError{First: pr.first, Length: length, Limit: limit}
			}
			pr.need, pr.body = length, true
			return nil
		}
		if err := pr.more(5); err != nil {
			return err
		}
	}
}

// Whole reports whether b, which is not empty, begins with a packet of which nothing is missing.
func Whole(b []byte) bool {
	length, size, err := remainingLength(b[1:])
	return err == nil && size > 0 && len(b) >= 1+size+length
}

// remainingLength decodes the variable byte integer at the start of b. size is 0 when b ends too early.
func remainingLength(b []byte) (length, size int, err error) {
	for i, c := range b {
		if i == 4 {
			break
		}
		length |= int(c&0x7f) << (7 * i)
		if c < 0x80 {
			return length, i + 1, nil
		}
	}
	if len(b) >= 4 {
		return 0, 0, ErrMalformed
	}
	return 0, 0, nil
}

// await gives the buffer back, waits for bytes and takes a buffer for them. Everything read has been consumed.
func (pr *PacketReader) await() error {
	pr.release()
	if pr.conn != nil {
		n, err := pr.conn.readLazily(pr)
		pr.wr = n
		return err
	}
	n, err := pr.r.Read(pr.small[:])
	if n == 0 {
		if err == nil {
			err = io.ErrNoProgress
		}
		return err
	}
	pr.wr = copy(pr.acquire(), pr.small[:n])
	return nil
}

// more reads at least one byte. need is how many bytes from rd on the caller wants in one piece in the end.
func (pr *PacketReader) more(need int) error {
	if pr.store == nil {
		return unexpected(pr.await())
	}
	if pr.rd == pr.wr {
		pr.rd, pr.wr = 0, 0
	}
	if size := len(pr.store.b); pr.wr == size {
		to := pr.store
		if need > size {
			to = takeStore(min(2*size, need))
		}
		pr.wr = copy(to.b, pr.store.b[pr.rd:pr.wr])
		pr.rd = 0
		if to != pr.store {
			pr.store.free()
			pr.store = to
		}
	}
	n, err := pr.r.Read(pr.store.b[pr.wr:])
	pr.wr += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return unexpected(err)
}

// acquire takes a buffer, if there is none, and returns it.
func (pr *PacketReader) acquire() []byte {
	if pr.store == nil {
		pr.store = takeStore(storeSize)
	}
	return pr.store.b
}

// release gives the buffer back.
func (pr *PacketReader) release() {
	if pr.store != nil {
		pr.store.free()
		pr.store = nil
	}
	pr.rd, pr.wr = 0, 0
}

// Close gives the buffer back. It does not close the stream.
func (pr *PacketReader) Close() { pr.release() }

// unexpected marks the end of the stream within a packet.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
