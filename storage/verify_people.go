package storage

import "fmt"

// relation looks for the user's record, which counts it.
func (c *verifier) relation(k, b []byte) error {
	if err := decodeRecord(b, new(relation)); err != nil {
		return err
	}
	n, err := names(k, 2)
	if err != nil {
		return err
	}
	return c.has(personKey(n[0], n[1]))
}

// pair looks for each block of two users in the list of the one whose it is.
func (c *verifier) pair(k, b []byte) error {
	var p pair
	if err := decodeRecord(b, &p); err != nil {
		return err
	}
	n, err := names(k, 1)
	if err != nil {
		return err
	}
	first, second, ok := directPair(n[1])
	if !ok || p == (pair{}) {
		return fmt.Errorf("%w: blocks of no pair", ErrEntry)
	}
	if c.m.Outbox > c.m.FollowedUp {
		return nil // lists follow
	}
	if p.First != 0 {
		err = c.has(relationKey(n[0], first, second))
	}
	if p.Second != 0 && err == nil {
		err = c.has(relationKey(n[0], second, first))
	}
	return err
}

// person counts what the user's record counts.
func (c *verifier) person(k, b []byte) error {
	var p person
	if err := decodeRecord(b, &p); err != nil {
		return err
	}
	n, err := names(k, 1)
	if err != nil {
		return err
	}
	var is person
	if err := scan(c.db, key(prefixRelation, n[0], n[1]), nil, func(_, b []byte) (bool, error) {
		var r relation
		err := decodeRecord(b, &r)
		r.count(&is, 1)
		return true, err
	}); err != nil {
		return err
	}
	if is.Contacts != p.Contacts || is.Asked != p.Asked || is.Blocks != p.Blocks {
		return fmt.Errorf("%w: %d contacts, %d requests and %d blocks are counted and %d, %d and %d are there",
			ErrEntry, p.Contacts, p.Asked, p.Blocks, is.Contacts, is.Asked, is.Blocks)
	}
	return nil
}
