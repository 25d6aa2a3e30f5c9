package calls

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Bounds of an import. A command is proposed when the one before is in the log, so that chat has its place between them.
const (
	importLines = 128
	importBytes = 256 << 10
)

// ImportedRoom is how far an import got.
type ImportedRoom struct {
	Room    string `json:"room"`
	Lines   uint64 `json:"lines"`   // of the file that are in
	Skipped uint64 `json:"skipped"` // of these, the ones that were in before
	Done    bool   `json:"done"`    // the last one is
}

// ImportRoom makes a room of an export, for admins. The room must never have had an entry; every entry keeps its number, its
// time and its writer. The same file sent again goes on where it got to, and changes nothing when it is all in. An error
// says at which line it ended; the lines before it are in.
func (c *Calls) ImportRoom(ctx context.Context, id auth.Identity, name string, file io.Reader) (ImportedRoom, error) {
	out := ImportedRoom{Room: name}
	k, err := c.mayImport(id, name)
	if err != nil {
		return out, err
	}
	before, err := c.cfg.Store.Import(k)
	if err != nil {
		return out, c.broken(err)
	}
	room, err := c.cfg.Store.Room(k)
	if err != nil {
		return out, c.broken(err)
	}
	if before != nil && (room == nil || room.MadePos != before.MadePos) {
		before = nil
	}
	i := &importer{c: c, cmd: storage.Import{Room: k, By: ActorOf(id), From: 1}, out: &out, before: before}
	if err := i.run(ctx, file); err != nil {
		return out, err
	}
	err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		p, err := c.cfg.Store.Import(k)
		return p != nil && p.Lines >= out.Lines, err
	})
	if err != nil {
		return out, c.broken(err)
	}
	return out, nil
}

// importer reads a file and proposes its lines.
type importer struct {
	c      *Calls
	out    *ImportedRoom
	before *storage.Imported // where an earlier try got to; nil = there was none of this file

	n     uint64   // lines read
	upto  [16]byte // hash of them
	cmd   storage.Import
	bytes int
}

// run reads line by line.
func (i *importer) run(ctx context.Context, file io.Reader) error {
	most := 2*i.c.limits().Message + importBytes // with what JSON and the log add
	r := bufio.NewReaderSize(file, 64<<10)
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > most {
			return i.failed(problem.TooLarge, fmt.Errorf("it has more than %d bytes", most))
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			// What came whole is worth keeping: the next try goes on after it.
			if err := i.flush(ctx); err != nil {
				return err
			}
			return i.failed(problem.BadPayload, errors.New("the file did not arrive whole"))
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			if err := i.line(ctx, text); err != nil {
				return err
			}
		}
		line = line[:0]
		if err != nil {
			break
		}
	}
	if i.n == 0 {
		return i.failed(problem.BadPayload, errors.New("there is none"))
	}
	if err := i.flush(ctx); err != nil {
		return err
	}
	if !i.out.Done {
		return i.failed(problem.BadPayload, errors.New("the last line, which says that the export is whole, is missing"))
	}
	return nil
}

// failed is a refusal that says how far the import got.
func (i *importer) failed(code problem.Code, err error) error {
	return problem.New(code, "line %d: %s. The %d lines before it are in; mend it and send the file again.", i.n+1, err, i.out.Lines)
}

func (i *importer) line(ctx context.Context, text []byte) error {
	h := sha256.New()
	h.Write(i.upto[:])
	h.Write(text)
	copy(i.upto[:], h.Sum(nil))
	if i.n == 0 {
		i.cmd.File = i.upto
		if i.before != nil && i.before.File != i.upto {
			i.before = nil
		}
	}
	if i.before != nil && i.n < i.before.Lines {
		return i.skip()
	}
	l, lines := storage.ImportLine{}, uint64(0)
	var err error
	if i.n == 0 {
		l.Room, err = parseImportHead(text)
	} else if l, lines, err = parseImportLine(text); err == nil && lines != 0 && lines != i.n+1 {
		// The entries of a room may begin anywhere and have holes, so that nothing else tells of lines that got lost.
		if err := i.flush(ctx); err != nil {
			return err
		}
		return problem.New(problem.BadPayload, "line %d: the file has %d lines and says %d; export the room again, and import that "+
			"under another name. The %d lines before it are in, and the room is not opened.", i.n+1, i.n+1, lines, i.out.Lines)
	}
	if err != nil {
		if err := i.flush(ctx); err != nil {
			return err
		}
		return i.failed(problem.BadPayload, err)
	}
	if i.bytes += len(text); len(i.cmd.Lines) > 0 && (len(i.cmd.Lines) == importLines || i.bytes > importBytes) {
		if err := i.flush(ctx); err != nil {
			return err
		}
		i.bytes = len(text)
	}
	if len(i.cmd.Lines) == 0 {
		i.cmd.From = i.n + 1
	}
	l.Upto = i.upto
	i.cmd.Lines = append(i.cmd.Lines, l)
	i.n++
	return nil
}

// skip passes over a line that is in.
func (i *importer) skip() error {
	i.n++
	if i.n < i.before.Lines {
		return nil
	}
	if i.upto != i.before.Upto {
		i.out.Lines, i.n = i.before.Lines, 0
		return problem.New(problem.Conflict,
			"The first line is that of a file of which %d lines are in, and these are others. Send that file again, or give the room another name.",
			i.before.Lines)
	}
	i.out.Lines, i.out.Skipped = i.n, i.n
	i.out.Done = i.before.Room == nil
	return nil
}

// flush proposes the lines that wait.
func (i *importer) flush(ctx context.Context) error {
	if len(i.cmd.Lines) == 0 {
		return nil
	}
	res, err := i.c.write(ctx, &i.cmd)
	if res.Seq > 0 {
		i.out.Lines = res.Seq
	}
	if err != nil {
		return err
	}
	i.out.Done = i.cmd.Lines[len(i.cmd.Lines)-1].End
	i.cmd.Lines = i.cmd.Lines[:0]
	return nil
}

// MayImport says why id may not import a room of that name; to be asked before anything is read.
func (c *Calls) MayImport(id auth.Identity, name string) error {
	_, err := c.mayImport(id, name)
	return err
}

func (c *Calls) mayImport(id auth.Identity, name string) (storage.RoomKey, error) {
	if !id.Admin {
		return storage.RoomKey{}, problem.New(problem.Forbidden, "Admins import rooms.")
	}
	if topic.ValidRoom(name) && !topic.MayName(name) {
		return storage.RoomKey{}, unreachable(problem.BadPayload, name)
	}
	return roomKey(id, name)
}
