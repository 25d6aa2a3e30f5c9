package calls

import (
	"context"

	"github.com/madang-chat/madang/hooks/auth"
)

// Self is who the caller is.
type Self struct {
	User      string `json:"user"`
	Namespace string `json:"namespace"`
	Name      string `json:"name,omitempty"`
	Level     *int64 `json:"level,omitempty"`
	Guest     bool   `json:"guest"`
	Admin     bool   `json:"admin"`
	Auditor   bool   `json:"auditor,omitempty"`
	ExpiresAt int64  `json:"expires_at,omitempty"` // ms since the epoch; absent for one who does not expire
	Node      string `json:"node,omitempty"`       // which answered
}

// Whoami returns who the caller is.
func (c *Calls) Whoami(_ context.Context, id auth.Identity) (Self, error) {
	if !id.Guest && !id.Service { // of a connection that is older than the last change of its user
		u, err := c.cfg.Store.User(id.Namespace, id.User)
		if err != nil {
			return Self{}, c.broken(err)
		}
		if u != nil && u.Name != "" {
			id.Name = u.Name
		}
		if u != nil && u.Level != nil {
			id.Level = u.Level
		}
	}
	s := Self{
		User: id.User, Namespace: id.Namespace, Name: id.Name, Level: id.Level,
		Guest: id.Guest, Admin: id.Admin, Auditor: id.Auditor, Node: c.cfg.Node,
	}
	if !id.Expires.IsZero() {
		s.ExpiresAt = id.Expires.UnixMilli()
	}
	return s, nil
}
