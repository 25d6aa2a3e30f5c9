package calls

import (
	"context"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// WebhookInfo is where a webhook stands, as the log knows it: at most a second old, the same on every node.
type WebhookInfo struct {
	Name    string `json:"name"`
	Place   uint64 `json:"place"`           // events up to here are done
	Lag     uint64 `json:"lag"`             // events after it
	Dead    uint64 `json:"dead"`            // that were given up and can be tried again
	Dropped uint64 `json:"dropped"`         // that were given up and made room for newer ones
	Error   string `json:"error,omitempty"` // why the last try failed
	Off     bool   `json:"off,omitempty"`   // the receiver answered 410; the next reload tries again
}

// WebhookList is the result of Webhooks.
type WebhookList struct {
	Webhooks []WebhookInfo `json:"webhooks"`
}

// DeadInput are the params of WebhookDead.
type DeadInput struct {
	Name  string `json:"name"`
	After uint64 `json:"after,omitempty"` // next of the page before
	Limit int    `json:"limit,omitempty"` // 100 when not given, at most 1000
}

// DeadInfo is an event that was given up.
type DeadInfo struct {
	ID    uint64 `json:"id"`
	Room  string `json:"room"`
	NS    string `json:"namespace"`
	Seq   uint64 `json:"seq,omitempty"`   // of the entry
	Event string `json:"event,omitempty"` // of a room, without an entry: created, updated, deleted
	At    int64  `json:"at"`              // ms since the epoch, when it was given up
	Tries int    `json:"tries"`
	Error string `json:"error"`
}

// DeadPage is the result of WebhookDead.
type DeadPage struct {
	Dead []DeadInfo `json:"dead"`
	More bool       `json:"more"`
	Next uint64     `json:"next,omitempty"`
}

// RetryInput are the params of WebhookRetry; no IDs = all of them.
type RetryInput struct {
	Name string   `json:"name"`
	IDs  []uint64 `json:"ids,omitempty"`
}

// Retried says how many events are tried again.
type Retried struct {
	Name    string `json:"name"`
	Retried uint64 `json:"retried"`
}

// maxRetryIDs is how many events can be named at once.
const maxRetryIDs = 1000

// operates refuses whoever is no admin of the default namespace: webhooks hear of all namespaces.
func (c *Calls) operates(id auth.Identity) error {
	if !id.Admin || id.Namespace != c.cfg.DefaultNamespace {
		return problem.New(problem.Forbidden, "Only an admin of the default namespace sees the webhooks: they hear of every namespace.")
	}
	return nil
}

// Webhooks lists the webhooks of the cluster.
func (c *Calls) Webhooks(_ context.Context, id auth.Identity, _ struct{}) (WebhookList, error) {
	if err := c.operates(id); err != nil {
		return WebhookList{}, err
	}
	all, err := c.cfg.Store.Webhooks()
	if err != nil {
		return WebhookList{}, c.broken(err)
	}
	_, next, _ := c.cfg.Store.Feed()
	out := WebhookList{Webhooks: []WebhookInfo{}}
	for _, w := range all {
		out.Webhooks = append(out.Webhooks, WebhookInfo{
			Name: w.Name, Place: w.Place, Lag: next - 1 - min(w.Place, next-1), Dead: w.Dead, Dropped: w.Dropped, Error: w.Error, Off: w.Off,
		})
	}
	return out, nil
}

// webhook says whether the log knows one of that name.
func (c *Calls) webhook(name string) error {
	all, err := c.cfg.Store.Webhooks()
	if err != nil {
		return c.broken(err)
	}
	for _, w := range all {
		if w.Name == name {
			return nil
		}
	}
	return problem.New(problem.NotFound, "There is no webhook %.64q.", name)
}

// WebhookDead lists the events that a webhook's receiver did not take, the oldest first.
func (c *Calls) WebhookDead(_ context.Context, id auth.Identity, in DeadInput) (DeadPage, error) {
	if err := c.operates(id); err != nil {
		return DeadPage{}, err
	}
	if err := c.webhook(in.Name); err != nil {
		return DeadPage{}, err
	}
	limit, err := pageLimit(in.Limit, defaultMembers, maxMembers)
	if err != nil {
		return DeadPage{}, err
	}
	letters, err := c.cfg.Store.DeadLetters(in.Name, in.After, limit+1)
	if err != nil {
		return DeadPage{}, c.broken(err)
	}
	out := DeadPage{Dead: []DeadInfo{}, More: len(letters) > limit}
	if out.More {
		letters = letters[:limit]
		out.Next = letters[limit-1].ID
	}
	for _, l := range letters {
		out.Dead = append(out.Dead, deadInfo(&l))
	}
	return out, nil
}

func deadInfo(l *storage.DeadLetter) DeadInfo {
	return DeadInfo{
		ID: l.ID, Room: l.Item.Room.Room, NS: l.Item.Room.NS, Seq: l.Item.Seq, Event: l.Item.Event, At: l.At, Tries: l.Tries, Error: l.Error,
	}
}

// WebhookRetry lets events that were given up be tried again, after all that wait already.
func (c *Calls) WebhookRetry(ctx context.Context, id auth.Identity, in RetryInput) (Retried, error) {
	if err := c.operates(id); err != nil {
		return Retried{}, err
	}
	if len(in.IDs) > maxRetryIDs {
		return Retried{}, problem.New(problem.BadPayload, "ids: at most %d can be named; none stands for all.", maxRetryIDs)
	}
	if err := c.webhook(in.Name); err != nil {
		return Retried{}, err
	}
	r, err := c.write(ctx, &storage.FeedRetry{Hook: in.Name, IDs: in.IDs})
	if err != nil {
		return Retried{}, err
	}
	return Retried{Name: in.Name, Retried: r.Seq}, nil
}
