package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/madang-chat/madang/storage"
)

// Deletions carries out what the deletion of a user leaves to be done, on the leader: it ends memberships and takes the name
// off entries, in pages. Apply keeps how far each deletion is, so that another leader goes on from there; a page that is done
// twice changes nothing.
type Deletions struct {
	Store  *storage.Store
	Log    Log
	Leader Leader
	Logger *slog.Logger
	Every  time.Duration // between looks when nothing is told; 0 = one minute
}

// Bounds of the work between two pages of a deletion.
const (
	deletionsAtOnce = 16
	lookEntries     = 1000
	lookBytes       = 1 << 20
	lookPages       = 64 // pages of entries without any of the user before the place is kept
)

var (
	errNoPage = errors.New("no page of a deletion is taken now") // this node leads no more
	errPage   = errors.New("a page was refused")                 // another deletion of the user has begun, say
)

// Run works whenever this node leads, until ctx ends.
func (d *Deletions) Run(ctx context.Context) {
	every := d.Every
	if every == 0 {
		every = defaultEvery
	}
	whenTold(ctx, d.Store, d.Leader, func(ch *storage.Changes) bool { return ch.Deletions }, func(ctx context.Context) time.Duration {
		d.work(ctx)
		return every
	})
}

// work carries out every deletion that is not done. One that fails is tried again with the next look, and holds up no other.
func (d *Deletions) work(ctx context.Context) {
	failed := map[storage.UserKey]bool{}
	for ctx.Err() == nil {
		all, err := d.Store.Deletions(deletionsAtOnce + len(failed))
		if err != nil {
			d.Logger.Error("read deletions", "err", err)
			return
		}
		all = slices.DeleteFunc(all, func(del storage.Deletion) bool { return failed[del.Key] })
		if len(all) == 0 {
			return
		}
		for i := range all {
			switch err := d.carryOut(ctx, &all[i]); {
			case err == nil:
				d.Logger.Info("audit: a user's deletion is done", "user", all[i].Key.NS+"/"+all[i].Key.User, "mode", all[i].Mode)
			case errors.Is(err, errNoPage), ctx.Err() != nil:
				return
			default:
				d.Logger.Error("delete a user", "user", all[i].Key.NS+"/"+all[i].Key.User, "err", err)
				failed[all[i].Key] = true
			}
		}
	}
}

func (d *Deletions) carryOut(ctx context.Context, del *storage.Deletion) error {
	if del.To.Room == "" {
		if err := d.sessions(ctx, del); err != nil {
			return err
		}
		if err := d.memberships(ctx, del); err != nil {
			return err
		}
	}
	return d.entries(ctx, del)
}

// propose puts a page in the log and waits for it.
func (d *Deletions) propose(ctx context.Context, cmd storage.Command) error {
	if !d.Leader.IsLeader() {
		return errNoPage
	}
	r, err := proposeTo(ctx, d.Log, cmd)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return errNoPage
	case r.Outcome != storage.Done:
		return fmt.Errorf("%w: %v: %s", errPage, r.Outcome, r.Detail)
	}
	return nil
}

// sessions ends those that the deletion itself did not.
func (d *Deletions) sessions(ctx context.Context, del *storage.Deletion) error {
	for {
		clients, err := d.Store.ClientsOf(del.Key.NS, del.Key.User, lookEntries)
		if err != nil || len(clients) == 0 {
			return err
		}
		for _, c := range clients {
			id := storage.SessionID{NS: del.Key.NS, User: del.Key.User, Client: c}
			if err := d.propose(ctx, &storage.Drop{Session: id}); err != nil {
				return err
			}
		}
	}
}

// memberships ends them. The user's list follows the rooms, so what had not been carried to it yet is waited for; the user
// joins nothing more.
func (d *Deletions) memberships(ctx context.Context, del *storage.Deletion) error {
	if err := d.settle(ctx); err != nil {
		return err
	}
	page := func() *storage.DeletePage { return &storage.DeletePage{Key: del.Key, Run: del.Run} }
	for after := ""; ; {
		rooms, err := d.Store.UserRooms(del.Key.NS, del.Key.User, after, storage.MaxPageRooms)
		if err != nil || len(rooms) == 0 {
			return err
		}
		p := page()
		for _, r := range rooms {
			p.Leave = append(p.Leave, r.Room)
		}
		if err := d.propose(ctx, p); err != nil {
			return err
		}
		after = rooms[len(rooms)-1].Room
	}
}

// settle waits until the outbox, as it is now, has been carried to its users.
func (d *Deletions) settle(ctx context.Context) error {
	watch := d.Store.Watch()
	defer watch.Close()
	last := d.Store.LastOutbox()
	for {
		if ok, err := d.Store.Delivered(last); ok || err != nil {
			return err
		}
		select {
		case <-watch.Wake():
			watch.Take()
		case <-d.Leader.LeaderChanges():
			if !d.Leader.IsLeader() {
				return errNoPage
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// entries takes the name off every entry of the namespace, room by room. There is no index of who wrote where: what is
// looked for once in a user's life is not worth a key with every message.
func (d *Deletions) entries(ctx context.Context, del *storage.Deletion) error {
	var rooms []string
	if err := d.Store.LogKeys(func(k storage.RoomKey) bool { // broadcasts and inboxes name people, too
		if k.NS == del.Key.NS && k.Room >= del.To.Room {
			rooms = append(rooms, k.Room)
		}
		return true
	}); err != nil {
		return err
	}
	looked := 0
	for _, name := range rooms {
		from := uint64(1)
		if name == del.To.Room {
			from = del.To.Seq + 1
		}
		if err := d.room(ctx, del, name, from, &looked); err != nil {
			return err
		}
	}
	return d.propose(ctx, &storage.DeletePage{Key: del.Key, Run: del.Run, Done: true})
}

// room looks through one room from a place on.
func (d *Deletions) room(ctx context.Context, del *storage.Deletion, name string, from uint64, looked *int) error {
	k := storage.RoomKey{NS: del.Key.NS, Room: name}
	r, err := d.Store.Room(k)
	if err != nil || r == nil {
		return err
	}
	if err := d.states(ctx, del, k, storage.DeletedTo{Room: name, Seq: from - 1}); err != nil {
		return err
	}
	head := r.Head.Seq // later entries are by others; those that say the user left are in front of it
	for from = max(from, r.Head.First); from <= head && ctx.Err() == nil; {
		entries, err := d.Store.Entries(k, from, head, lookEntries, lookBytes)
		if err != nil || len(entries) == 0 {
			return err
		}
		p := &storage.DeletePage{Key: del.Key, Run: del.Run, Room: name, To: storage.DeletedTo{Room: name}}
		for _, e := range entries {
			p.To.Seq = e.Seq
			if e.Concerns(k, del.Key.User) {
				if p.Entries = append(p.Entries, e.Seq); len(p.Entries) == storage.MaxPageEntries {
					break
				}
			}
		}
		from = p.To.Seq + 1
		if *looked++; len(p.Entries) > 0 || *looked >= lookPages {
			*looked = 0
			if err := d.propose(ctx, p); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// states takes the name off what the user set in a room, in pages.
func (d *Deletions) states(ctx context.Context, del *storage.Deletion, k storage.RoomKey, to storage.DeletedTo) error {
	var names []string
	if err := d.Store.States(k, "", true, func(v storage.StateValue) bool {
		if v.By(del.Key.User) {
			names = append(names, v.Key)
		}
		return true
	}); err != nil {
		return err
	}
	for page := range slices.Chunk(names, storage.MaxPageEntries) {
		p := &storage.DeletePage{Key: del.Key, Run: del.Run, Room: k.Room, States: page, To: to}
		if err := d.propose(ctx, p); err != nil {
			return err
		}
	}
	return nil
}
