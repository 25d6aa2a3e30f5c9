package storage

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// talk makes short messages of words that are as unequally frequent as those of a language.
type talk struct {
	r     *rand.Rand
	zipf  *rand.Zipf
	words []string
}

func newTalk() *talk {
	r := rand.New(rand.NewPCG(1, 2))
	t := &talk{r: r, zipf: rand.NewZipf(r, 1.1, 4, 29_999)}
	for range 30_000 {
		var b strings.Builder
		if r.IntN(2) == 0 {
			for range 1 + r.IntN(4) {
				b.WriteRune(rune(0xac00 + 28*(int(r.ExpFloat64()*60)%399) + r.IntN(4)))
			}
		} else {
			for range 2 + r.IntN(7) {
				b.WriteByte("etaoinshrdlucmfwygpbvkxqjz"[int(r.ExpFloat64()*7)%26])
			}
		}
		t.words = append(t.words, b.String())
	}
	return t
}

func (t *talk) say() string {
	var b strings.Builder
	for range 3 + t.r.IntN(8) {
		b.WriteString(t.words[t.zipf.Uint64()])
		b.WriteByte(' ')
	}
	return b.String()
}

// BenchmarkSearch searches a room of 1,000,000 short messages (100,000 with -short) for what is rare and what is frequent
// there, a page of 20.
func BenchmarkSearch(b *testing.B) {
	const batch = 500
	messages := 1_000_000
	if testing.Short() {
		messages = 100_000
	}
	s := openOn(b, vfs.Default, func(o *Options) { o.Dir, o.CacheSize = b.TempDir()+"/db", 0 })
	defer func() { _ = s.Close() }()
	l := newLog(b, s)
	talk := newTalk()
	cmds := make([]Command, batch)
	for i := range messages / batch {
		for j := range cmds {
			cmds[j] = say("r", fmt.Sprint("user", talk.r.IntN(500)), talk.say())
		}
		switch i {
		case 4:
			cmds[7] = say("r", "ann", "a zebrafish and 얼룩말물고기 at the beginning")
		case messages / batch / 2:
			cmds[7] = say("r", "ann", "a zebrafish and 얼룩말물고기 in the middle")
		}
		l.as("a", cmds...)
	}
	b.Run("index a block of 256", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			if err := s.dropIndex(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if _, _, err := s.indexStep(room("r"), blockEntries); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*blockEntries), "ns/msg")
	})
	x := s.Indexer(false)
	defer x.Close()
	indexed(b, x)
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	size, err := s.db.EstimateDiskUsage([]byte{prefixIndex}, []byte{prefixIndex + 1})
	if err != nil {
		b.Fatal(err)
	}
	entries, err := s.db.EstimateDiskUsage([]byte{prefixEntry}, []byte{prefixEntry + 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("index %d MB, entries %d MB", size>>20, entries>>20)
	for _, c := range []struct{ name, query, from string }{
		{"rare word", "zebrafish ", ""},
		{"rare word being typed", "zebraf", ""},
		{"rare Korean", "얼룩말물고", ""},
		{"frequent word", talk.frequent(func(s string) bool { return s[0] < 0x80 && len(s) > 2 }) + " ", ""},
		{"frequent Korean", talk.frequent(func(s string) bool { return s[0] >= 0x80 && len(s) == 6 }), ""},
		{"one character", talk.frequent(func(s string) bool { return s[0] >= 0x80 && len(s) == 3 }), ""},
		{"beginning of many words", "e", ""},
		{"frequent word of somebody", talk.frequent(func(s string) bool { return s[0] < 0x80 && len(s) > 2 }) + " ", "ann"},
		{"not there", "quetzalcoatlus ", ""},
		{"within words, all blocks", `"ebrafis"`, ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := Find{Query: query(b, c.query), From: c.from, Limit: 20}
			n, rounds := 0, 0
			for range b.N {
				n, rounds = 0, 0
				for before := ^uint64(0); before != 0 && n < f.Limit; rounds++ {
					work := 10_000
					f.Work = &work
					found, next, err := s.Search(room("r"), f, before)
					if err != nil {
						b.Fatal(err)
					}
					n += len(found)
					before = next
				}
			}
			b.ReportMetric(float64(n), "found")
			b.ReportMetric(float64(rounds), "calls")
		})
	}
}

// frequent returns the most frequent word that is of a kind.
func (t *talk) frequent(is func(string) bool) string {
	for _, w := range t.words {
		if is(w) {
			return w
		}
	}
	return ""
}
