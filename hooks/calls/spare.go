package calls

import "sync"

// spareParts is into how many parts what a user may still have is divided: one of them is not counted again. So one node never
// goes past the limit, and each other node at which the user makes rooms too by less than such a part of it.
const spareParts = 8

// spareMost bounds the users that are remembered; then all are counted anew.
const spareMost = 4096

// spares remembers how many more rooms users may be members of before their list, which may have ten thousand, is counted
// again: who makes a thousand rooms by sending would wait for half a million memberships. It is safe for concurrent use.
type spares struct {
	mu sync.Mutex
	of map[[2]string]spare // by namespace and user
}

type spare struct {
	most int // the limit when it was counted; another one is counted anew
	left int
}

// take says whether a user may have one more without a look.
func (s *spares) take(ns, user string, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := [2]string{ns, user}
	sp, ok := s.of[k]
	switch {
	case !ok:
		return false
	case sp.most != most || sp.left == 0:
		delete(s.of, k)
		return false
	}
	sp.left--
	s.of[k] = sp
	return true
}

// counted notes that a user has n of at most so many, and is about to have one more.
func (s *spares) counted(ns, user string, n, most int) {
	left := (most - n - 1) / spareParts
	if left <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil || len(s.of) >= spareMost {
		s.of = map[[2]string]spare{}
	}
	s.of[[2]string{ns, user}] = spare{most, left}
}
