package cluster

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// The bytes of a snapshot on its way to another node. Integers are big endian.
//
//	0..7    "madangs1"
//	8..15   at least this index is applied in the store
//	16..19  number of files
//	        per file: u16 length of its path, the path (slashes, relative), u64 size
//	        u32 CRC32C of all the above
//	        per file: its bytes, u32 CRC32C of them
const (
	streamMagic    = "madangs1"
	streamMaxFiles = 1 << 20
	streamMaxPath  = 1024
)

var errStream = errors.New("snapshot stream is damaged")

// streamFile is one file of a snapshot.
type streamFile struct {
	path string
	size uint64
}

// streamWriter yields the stream of the files in a directory that does not change.
type streamWriter struct {
	disk    Disk
	dir     string
	files   []streamFile // still to be sent
	size    int64        // of the whole stream
	onClose func() error

	buf  []byte // next bytes: head or checksum
	file File   // being sent, nil between files
	left uint64 // bytes of file
	sum  hash.Hash32
}

// newStreamWriter reads the sizes of all files below dir; contents are read as the stream is.
func newStreamWriter(d Disk, dir string, applied uint64) (*streamWriter, error) {
	paths, err := walkFiles(d, dir)
	if err != nil {
		return nil, err
	}
	if len(paths) > streamMaxFiles {
		return nil, fmt.Errorf("the store has %d files, a snapshot at most %d", len(paths), streamMaxFiles)
	}
	w := &streamWriter{disk: d, dir: dir, sum: crc32.New(crcTable), onClose: func() error { return nil }}
	head := append([]byte(nil), streamMagic...)
	head = binary.BigEndian.AppendUint64(head, applied)
	head = binary.BigEndian.AppendUint32(head, uint32(len(paths)))
	for _, p := range paths {
		if len(p) > streamMaxPath {
			return nil, fmt.Errorf("path of %d bytes in the store", len(p))
		}
		size, err := fileSize(d, filepath.Join(dir, filepath.FromSlash(p)))
		if err != nil {
			return nil, err
		}
		head = binary.BigEndian.AppendUint16(head, uint16(len(p)))
		head = append(head, p...)
		head = binary.BigEndian.AppendUint64(head, uint64(size))
		w.files = append(w.files, streamFile{p, uint64(size)})
		w.size += size + crc32.Size
	}
	w.buf = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, crcTable))
	w.size += int64(len(w.buf))
	return w, nil
}

func fileSize(d Disk, name string) (int64, error) {
	f, err := d.Open(name)
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	return size, errors.Join(err, f.Close())
}

// Read implements io.Reader.
func (w *streamWriter) Read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(w.buf) > 0:
			n := copy(p, w.buf)
			w.buf = w.buf[n:]
			return n, nil
		case w.file == nil && len(w.files) == 0:
			return 0, io.EOF
		case w.file == nil:
			f, err := w.disk.Open(filepath.Join(w.dir, filepath.FromSlash(w.files[0].path)))
			if err != nil {
				return 0, err
			}
			w.file, w.left = f, w.files[0].size
			w.sum.Reset()
		case w.left == 0:
			w.buf = w.sum.Sum(nil)
			w.files = w.files[1:]
			if err := w.closeFile(); err != nil {
				return 0, err
			}
		default:
			n, err := w.file.Read(p[:min(uint64(len(p)), w.left)])
			w.sum.Write(p[:n])
			w.left -= uint64(n)
			if n > 0 {
				return n, nil
			}
			if err == nil {
				err = io.ErrNoProgress
			}
			return 0, fmt.Errorf("read %s for a snapshot: %w", w.files[0].path, noEOF(err))
		}
	}
}

func (w *streamWriter) closeFile() error {
	f := w.file
	w.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// Close implements io.Closer.
func (w *streamWriter) Close() error {
	w.files, w.buf = nil, nil
	done := w.onClose
	w.onClose = func() error { return nil }
	return errors.Join(w.closeFile(), done())
}

// readStreamHead reads and checks the head of a stream. Memory is taken only for bytes that came.
func readStreamHead(r io.Reader) (applied uint64, files []streamFile, err error) {
	sum := crc32.New(crcTable)
	in := io.TeeReader(r, sum)
	var fixed [len(streamMagic) + 8 + 4]byte
	if _, err := io.ReadFull(in, fixed[:]); err != nil {
		return 0, nil, fmt.Errorf("%w: head: %w", errStream, noEOF(err))
	}
	if string(fixed[:len(streamMagic)]) != streamMagic {
		return 0, nil, fmt.Errorf("%w: not a snapshot of this format", errStream)
	}
	applied = binary.BigEndian.Uint64(fixed[len(streamMagic):])
	count := binary.BigEndian.Uint32(fixed[len(streamMagic)+8:])
	if count > streamMaxFiles {
		return 0, nil, fmt.Errorf("%w: %d files", errStream, count)
	}
	seen := map[string]bool{}
	buf := make([]byte, streamMaxPath+8)
	for range count {
		if _, err := io.ReadFull(in, buf[:2]); err != nil {
			return 0, nil, fmt.Errorf("%w: head: %w", errStream, noEOF(err))
		}
		n := int(binary.BigEndian.Uint16(buf))
		if n > streamMaxPath {
			return 0, nil, fmt.Errorf("%w: path of %d bytes", errStream, n)
		}
		if _, err := io.ReadFull(in, buf[:n+8]); err != nil {
			return 0, nil, fmt.Errorf("%w: head: %w", errStream, noEOF(err))
		}
		f := streamFile{path: string(buf[:n]), size: binary.BigEndian.Uint64(buf[n:])}
		if !safePath(f.path) || seen[f.path] {
			return 0, nil, fmt.Errorf("%w: path %q", errStream, f.path)
		}
		seen[f.path] = true
		files = append(files, f)
	}
	want := sum.Sum32()
	if err := checkSum(r, want); err != nil {
		return 0, nil, fmt.Errorf("%w: head: %w", errStream, err)
	}
	return applied, files, nil
}

// safePath reports whether a path from another node stays inside the directory it is put into.
func safePath(p string) bool {
	return p != "." && fs.ValidPath(p) && !strings.ContainsAny(p, "\\:\x00")
}

// receiveStream writes the files of a stream into dir and makes them durable. The stream must end after the last one.
func receiveStream(r io.Reader, d Disk, dir string) (applied uint64, err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	applied, files, err := readStreamHead(in)
	if err != nil {
		return 0, err
	}
	dirs := map[string]bool{".": true}
	for _, f := range files {
		for p := path.Dir(f.path); p != "."; p = path.Dir(p) {
			dirs[p] = true
		}
	}
	for p := range dirs {
		if err := d.MkdirAll(filepath.Join(dir, filepath.FromSlash(p))); err != nil {
			return 0, err
		}
	}
	buf := make([]byte, 1<<17)
	for _, f := range files {
		if err := receiveFile(in, d, filepath.Join(dir, filepath.FromSlash(f.path)), f.size, buf); err != nil {
			return 0, fmt.Errorf("receive %s: %w", f.path, err)
		}
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return 0, fmt.Errorf("%w: bytes after the last file", errStream)
	}
	for p := range dirs {
		if err := d.SyncDir(filepath.Join(dir, filepath.FromSlash(p))); err != nil {
			return 0, err
		}
	}
	return applied, nil
}

func receiveFile(r io.Reader, d Disk, name string, size uint64, buf []byte) (err error) {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := crc32.New(crcTable)
	for size > 0 {
		n, err := io.ReadFull(r, buf[:min(size, uint64(len(buf)))])
		if err != nil {
			return fmt.Errorf("%w: %w", errStream, noEOF(err))
		}
		sum.Write(buf[:n])
		if _, err := f.Write(buf[:n]); err != nil { // may use buf as scratch space
			return err
		}
		size -= uint64(n)
	}
	if err := checkSum(r, sum.Sum32()); err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	return f.Sync()
}

// checkSum reads a checksum and compares it.
func checkSum(r io.Reader, want uint32) error {
	var b [crc32.Size]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return noEOF(err)
	}
	if binary.BigEndian.Uint32(b[:]) != want {
		return errors.New("checksum does not match")
	}
	return nil
}

// noEOF turns an end in the middle of something into an error that says so.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A token is what raft passes from snapshotStore.Open to fsm.Restore for a snapshot whose files are in place already.
const tokenPrefix = "madang-received "

func makeToken(id string) string { return tokenPrefix + id }

func readToken(r io.Reader) (id string, err error) {
	data, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return "", err
	}
	id, ok := strings.CutPrefix(string(data), tokenPrefix)
	if !ok {
		return "", errors.New("only a received snapshot can be restored")
	}
	return id, nil
}
