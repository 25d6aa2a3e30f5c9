package storage

import (
	"testing"
)

func head(name string) ImportLine {
	return ImportLine{Upto: hashOf(name), Room: &ImportRoom{Kind: Public, Name: "Old", Pinned: []uint64{5}, Frozen: true}}
}

func imports(from uint64, lines ...ImportLine) *Import {
	return &Import{Room: room("old"), By: Actor{User: "root", Admin: true}, File: hashOf("old"), From: from, Lines: lines}
}

func wasSaid(seq uint64, ts int64, user, text string) ImportLine {
	return ImportLine{Entry: &ImportEntry{Seq: seq, TS: ts, Type: TypeText, From: Actor{User: user}, Tail: []byte(`,"data":{"text":"` + text + `"}`)}}
}

// Entries keep their numbers and times, holes included; what they refer to is done again.
func TestImport(t *testing.T) {
	l := newTestLog(t)
	reply, edit, gone := wasSaid(8, 30, "bob", "re"), wasSaid(9, 30, "ann", "edited"), wasSaid(20, 40, "bob", "")
	reply.Entry.ReplyTo, edit.Entry.Type, edit.Entry.Target = 5, TypeEdit, 5
	gone.Entry.Type, gone.Entry.Target = TypeDelete, 6
	lines := []ImportLine{
		head("old"), wasSaid(5, 10, "ann", "first"), wasSaid(6, 20, "bob", "second"), wasSaid(7, 20, "ann", "third"), reply, edit, gone,
		{Reaction: &ImportReaction{Seq: 5, User: "bob", Emoji: "x"}},
		{State: &ImportState{Key: "k", Ver: 7, Tail: []byte(`,"key":"k","ver":7,"seq":5,"ts":9,"data":1}`)}},
		{Member: &ImportMember{User: "ann", Member: Member{Role: RoleOwner, Since: 5, At: 10}}},
		{Member: &ImportMember{User: "eve", Member: Member{Banned: Forever}}},
		{Mark: &ImportMark{User: "ann", Read: 7, Delivered: 99}},
		{End: true},
	}
	for i := range lines {
		if r := l.do(imports(uint64(i+1), lines[i])); r.Outcome != Done || r.Seq != uint64(i+1) || r.Duplicate {
			t.Fatalf("line %d: %+v", i+1, r)
		}
		if r := l.do(imports(1, lines[:i+1]...)); r.Outcome != Done || !r.Duplicate || r.Seq != uint64(i+1) {
			t.Fatalf("again up to line %d: %+v", i+1, r)
		}
	}
	r, err := l.s.Room(room("old"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Kind != Public || !r.Frozen || len(r.Pinned) != 1 || r.Members != 1 || r.States != 1 || !r.Restricted || r.Head.Seq != 20 ||
		r.Head.First != 5 || r.Head.N != 4 || len(r.Head.Holes) != 1 || r.Head.TS != 40 {
		t.Errorf("%+v", r)
	}
	f, err := l.s.Fold(room("old"), 5)
	if err != nil || len(f.Edits) != 1 || f.Replies != 1 || len(f.Reactions) != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	es, err := l.s.Entries(room("old"), 6, 6, 1, 1)
	if err != nil || len(es) != 1 || es[0].Erased == 0 {
		t.Errorf("%+v, %v", es, err)
	}
	if m, err := l.s.Mark(room("old"), "ann"); err != nil || m != (Mark{Read: 7, N: 3, Delivered: 20}) {
		t.Errorf("%+v, %v", m, err)
	}
	admin := say("old", "root", "after")
	admin.From.Admin = true
	if r := l.done(admin); r.Seq != 21 {
		t.Errorf("%+v", r)
	}
}

// An import is refused where it would change what is there, or order, and says at which line.
func TestImportRefused(t *testing.T) {
	for name, c := range map[string]struct {
		lines []ImportLine
		want  Outcome
	}{
		"no head":             {[]ImportLine{wasSaid(1, 1, "ann", "x")}, Conflict},
		"two heads":           {[]ImportLine{head("old"), head("old")}, Conflict},
		"seq goes back":       {[]ImportLine{head("old"), wasSaid(2, 1, "ann", "x"), wasSaid(2, 1, "ann", "x")}, Conflict},
		"ts goes back":        {[]ImportLine{head("old"), wasSaid(1, 9, "ann", "x"), wasSaid(2, 8, "ann", "x")}, Conflict},
		"the future":          {[]ImportLine{head("old"), wasSaid(1, 1<<50, "ann", "x")}, Conflict},
		"a far seq":           {[]ImportLine{head("old"), wasSaid(1<<60, 1, "ann", "x")}, Conflict},
		"a bad name":          {[]ImportLine{head("old"), wasSaid(1, 1, `a"`, "x")}, Forbidden},
		"after the end":       {[]ImportLine{head("old"), {End: true}, wasSaid(1, 1, "ann", "x")}, Conflict},
		"nothing":             {[]ImportLine{head("old"), {}}, Conflict},
		"a member twice":      {[]ImportLine{head("old"), {Member: &ImportMember{User: "a", Member: Member{Role: RoleMember}}}, {Member: &ImportMember{User: "a", Member: Member{Role: RoleMember}}}}, Conflict},
		"a role":              {[]ImportLine{head("old"), {Member: &ImportMember{User: "a", Member: Member{Role: "king"}}}}, Conflict},
		"no kind of room":     {[]ImportLine{{Room: &ImportRoom{}}}, Conflict},
		"a direct room":       {[]ImportLine{{Room: &ImportRoom{Kind: Direct}}}, Conflict},
		"a state with no key": {[]ImportLine{head("old"), {State: &ImportState{Tail: []byte("}")}}}, Forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			r := l.do(imports(1, c.lines...))
			if r.Outcome != c.want || r.Seq != uint64(len(c.lines)-1) || r.Detail == "" {
				t.Errorf("%+v", r)
			}
		})
	}
	l := newTestLog(t)
	l.done(say("old", "ann", "x"))
	if r := l.do(imports(1, head("old"))); r.Outcome != Conflict {
		t.Errorf("into a room that is there: %+v", r)
	}
	l.done(&RoomDelete{Room: room("old"), By: from("ann")})
	if r := l.do(imports(1, head("old"))); r.Outcome != Conflict {
		t.Errorf("into one that was: %+v", r)
	}
	c := imports(1, head("old"))
	c.By.Admin = false
	if r := l.do(c); r.Outcome != Forbidden {
		t.Errorf("by anybody: %+v", r)
	}
	if r := l.do(imports(7, head("old"))); r.Outcome != Conflict {
		t.Errorf("in the middle: %+v", r)
	}
}
