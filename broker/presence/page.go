package presence

import (
	"encoding/binary"
	"errors"

	"github.com/madang-chat/madang/storage"
)

// A page is what one node tells another, in one piece of at most pageMost bytes:
//
//	version, node, boot, number, flags, then any number of
//	1 ns user devices active                                   0 devices: the user has none here any more
//	2 ns room connections users online named [names]           0 connections: nobody is there any more
//	names:   how many, then user devices for each
//	devices: how many hashes, each 8 bytes, how many more
//
// Numbers are uvarints, names follow their lengths.

const (
	pageVersion = 1
	pageMost    = 24 << 10 // and one item more, which a frame of the peer link has room for
	tagUser     = 1
	tagRoom     = 2
	flagBegin   = 1 // the first page of a digest
	flagEnd     = 2 // the last: what it did not mention is no more
	mostNames   = 4 * NamesMost
)

var errPage = errors.New("malformed page of presence")

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendDevices(b []byte, d devices) []byte {
	b = binary.AppendUvarint(b, uint64(len(d.hashes)))
	for _, h := range d.hashes {
		b = binary.BigEndian.AppendUint64(b, h)
	}
	return binary.AppendUvarint(b, d.more)
}

func appendUser(b []byte, k User, e userEntry) []byte {
	b = appendText(appendText(append(b, tagUser), k.NS), k.User)
	return binary.AppendUvarint(appendDevices(b, e.devices), uint64(max(e.active, 0)))
}

func appendRoom(b []byte, k storage.RoomKey, e *roomEntry) []byte {
	b = appendText(appendText(append(b, tagRoom), k.NS), k.Room)
	for _, n := range [...]uint64{e.connections, e.users, e.online} {
		b = binary.AppendUvarint(b, n)
	}
	if !e.named {
		return append(b, 0)
	}
	b = binary.AppendUvarint(append(b, 1), uint64(len(e.names)))
	for _, n := range e.names {
		b = appendDevices(appendText(b, n.user), n.devices)
	}
	return b
}

// header is what stands in front of a page's items.
type header struct {
	node   string
	boot   uint64
	number uint64
	flags  byte
}

func (h *header) appendTo(b []byte) []byte {
	b = appendText(append(b, pageVersion), h.node)
	return append(binary.AppendUvarint(binary.AppendUvarint(b, h.boot), h.number), h.flags)
}

// reader takes a page apart and remembers whether anything was wrong with it.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *reader) text() string { return string(r.bytes(r.number())) }

func (r *reader) devices() (d devices) {
	n := r.number()
	if n > hashesMost {
		r.b, r.bad = nil, true
		return d
	}
	for range n {
		if b := r.bytes(8); len(b) == 8 {
			d.hashes = append(d.hashes, binary.BigEndian.Uint64(b))
		}
	}
	d.more = min(r.number(), 1<<32)
	return d
}

func (r *reader) header() (h header, err error) {
	if r.byte() != pageVersion {
		return h, errPage // of a node that says more than this one knows
	}
	h = header{node: r.text(), boot: r.number(), number: r.number(), flags: r.byte()}
	if r.bad {
		return h, errPage
	}
	return h, nil
}

// pageItem is one item of a page: of a user or of a room.
type pageItem struct {
	user  User
	of    userEntry
	room  storage.RoomKey // with a name: it is about this
	there roomEntry
}

// next takes the next item; ok is false at the end.
func (r *reader) next() (it pageItem, ok bool, err error) {
	if len(r.b) == 0 && !r.bad {
		return it, false, nil
	}
	switch r.byte() {
	case tagUser:
		it.user = User{NS: r.text(), User: r.text()}
		it.of = userEntry{devices: r.devices(), active: int64(min(r.number(), 1<<62))}
	case tagRoom:
		it.room = storage.RoomKey{NS: r.text(), Room: r.text()}
		it.there = roomEntry{connections: r.number(), users: r.number(), online: r.number(), named: r.byte() == 1}
		if it.there.named {
			n := r.number()
			if n > mostNames {
				return it, false, errPage
			}
			for range n {
				it.there.names = append(it.there.names, named{r.text(), r.devices()})
			}
		}
		if it.room.Room == "" {
			r.bad = true
		}
	default:
		r.bad = true
	}
	if r.bad {
		return it, false, errPage
	}
	return it, true, nil
}
