package broker

import (
	"fmt"

	"github.com/madang-chat/madang/storage"
)

// Proposer is a log of bytes: the node of package cluster.
type Proposer interface {
	Propose(cmd []byte, done func(result []byte, err error))
	Space() <-chan struct{}
}

// Commands makes a Log of commands from one of bytes.
type Commands struct{ Node Proposer }

// Propose encodes cmd for the log and decodes what Apply answers.
func (l Commands) Propose(cmd storage.Command, done func(storage.Result, error)) {
	l.Node.Propose(storage.Encode(cmd), func(b []byte, err error) {
		if err != nil {
			done(storage.Result{}, err)
			return
		}
		r, err := storage.DecodeResult(b)
		if err != nil {
			err = fmt.Errorf("answer of the log: %w", err)
		}
		done(r, err)
	})
}

// Space is the node's.
func (l Commands) Space() <-chan struct{} { return l.Node.Space() }

var _ Log = Commands{}
