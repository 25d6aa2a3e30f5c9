package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Feed returns the id of the oldest item kept and the one that the next will have, equal when there is none; on says
// whether items are written.
func (s *Store) Feed() (first, next uint64, on bool) {
	s.metaMu.RLock()
	defer s.metaMu.RUnlock()
	return s.feed.First, s.feed.Next, s.feed.On
}

// FeedItems returns the items from an id on, in order, at most limit of them.
func (s *Store) FeedItems(from uint64, limit int) (out []FeedItem, err error) {
	err = s.scan([]byte{prefixFeed, feedItems}, feedItemKey(from), func(k, v []byte) (bool, error) {
		it, err := decodeItem(binary.BigEndian.Uint64(k[len(k)-seqBytes:]), v)
		out = append(out, it)
		return len(out) < limit, err
	})
	return out, err
}

// Webhooks returns every webhook that the log knows, by name.
func (s *Store) Webhooks() (out []Webhook, err error) {
	err = s.scan([]byte{prefixWebhook}, nil, func(k, v []byte) (bool, error) {
		w := Webhook{Name: string(k[1:])}
		if err := decodeRecord(v, &w); err != nil {
			return false, fmt.Errorf("%w: webhook %q: %w", ErrEntry, w.Name, err)
		}
		out = append(out, w)
		return true, nil
	})
	return out, err
}

// DeadLetters returns what a webhook did not take, the oldest first, from the one after an id, at most limit of them.
func (s *Store) DeadLetters(hook string, after uint64, limit int) (out []DeadLetter, err error) {
	err = s.scan(lettersPrefix(hook), letterKey(hook, after+1), func(_, v []byte) (bool, error) {
		var l DeadLetter
		if err := decodeRecord(v, &l); err != nil {
			return false, fmt.Errorf("%w: dead letter of %q: %w", ErrEntry, hook, err)
		}
		l.Item.ID = l.ID
		out = append(out, l)
		return len(out) < limit, nil
	})
	return out, err
}

// HasCID reports whether a message with that cid of that user is in the room: what is sent with it is a repeat.
func (s *Store) HasCID(k RoomKey, user, cid string) (bool, error) {
	b, err := s.read(cidKey(k, user, cid))
	return b != nil, err
}

// feedEra opens a new era of the feed: ids that receivers have seen are not given again.
func (s *Store) feedEra() error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	t := s.begin()
	defer t.close()
	f := t.feed
	f.Next += EraJump
	t.setFeed(f)
	if t.err != nil {
		return t.err
	}
	return t.commit()
}

// feedRecord checks a record under prefixFeed.
func (c *verifier) feedRecord(k, b []byte) (err error) {
	bad := fmt.Errorf("%w: key", ErrEntry)
	switch {
	case len(k) == 1:
		c.feed, err = decodeFeed(b)
		return err
	case len(k) < 2+seqBytes:
		return bad
	}
	id := binary.BigEndian.Uint64(k[len(k)-seqBytes:])
	switch k[1] {
	case feedItems:
		if id < c.feed.First || id >= c.feed.Next || len(k) != 2+seqBytes {
			return fmt.Errorf("%w: item %d of a feed from %d to %d", ErrEntry, id, c.feed.First, c.feed.Next)
		}
		_, err = decodeItem(id, b)
		return err
	case feedLetters:
		var l DeadLetter
		if err := decodeRecord(b, &l); err != nil {
			return err
		}
		if len(k) < 3+seqBytes || k[len(k)-seqBytes-1] != separator {
			return bad
		}
		return c.has(webhookKey(string(k[2 : len(k)-seqBytes-1])))
	}
	return bad
}

// webhookRecord checks a webhook: its letters are as many as it says.
func (c *verifier) webhookRecord(k, b []byte) error {
	var w Webhook
	if err := decodeRecord(b, &w); err != nil {
		return err
	}
	n := uint64(0)
	err := scan(c.db, lettersPrefix(string(k[1:])), nil, func(_, _ []byte) (bool, error) {
		n++
		return true, nil
	})
	if err == nil && n != w.Dead {
		err = fmt.Errorf("%w: %d dead letters, the webhook says %d", ErrEntry, n, w.Dead)
	}
	return errors.Join(err)
}
