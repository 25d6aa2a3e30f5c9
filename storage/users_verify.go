package storage

import (
	"fmt"
	"slices"
)

// user holds a user against the places where they are found.
func (c *verifier) user(k, b []byte) error {
	var rec userRecord
	if err := decodeRecord(b, &rec); err != nil {
		return err
	}
	n, err := names(k, 1)
	if err != nil {
		return err
	}
	id := UserKey{NS: n[0], User: n[1]}
	switch {
	case rec.Deleted != "" && rec.Created != 0, rec.Deleted == "" && rec.Page != nil:
		return fmt.Errorf("%w: deleted and there", ErrEntry)
	case rec.Page != nil:
		return c.has(deletingKey(id))
	case rec.Created == 0:
		return nil
	}
	c.v.Users++
	if !slices.IsSortedFunc(rec.Attributes, func(a, b Attribute) int { return byAttribute(a, b.Name) }) {
		return fmt.Errorf("%w: attributes out of order", ErrEntry)
	}
	if rec.Fold != "" {
		if err := c.has(userIndexKey(id, rec.Fold)); err != nil {
			return err
		}
	}
	return c.has(userIndexKey(id, foldID(id.User)))
}

// userIndex holds a place where a user is found against the user.
func (c *verifier) userIndex(k, b []byte) error {
	if r := readRecord(b, recordVersion); !r.end() {
		return ErrEntry
	}
	n, err := names(k, 2)
	if err != nil {
		return err
	}
	id := UserKey{NS: n[0], User: n[2]}
	if n[0] == "" {
		id.NS = n[1]
	}
	v, err := get(c.db, userRecordKey(id))
	var rec userRecord
	if err == nil && v == nil {
		err = fmt.Errorf("%w: there is no such user", ErrEntry)
	}
	if err == nil {
		err = decodeRecord(v, &rec)
	}
	switch {
	case err != nil:
		return err
	case n[0] == "" && rec.Page == nil:
		return fmt.Errorf("%w: that deletion is done", ErrEntry)
	case n[0] != "" && (rec.Created == 0 || n[1] != rec.Fold && n[1] != foldID(id.User)):
		return fmt.Errorf("%w: the user is not found by that", ErrEntry)
	}
	return nil
}
