// Package webhook tells other programs, by HTTP, what happens in rooms and to users: signed as Standard Webhooks says
// (https://www.standardwebhooks.com), at least once and in order per room for what is in the log, at most once for what is
// not.
//
//	storage: feed ──> sender (one per webhook, on the leader) ──> lanes (one per room) ──> Endpoint ──> receiver
//	           ^             │ up to concurrency at once
//	           └── FeedPlaces, FeedDead
//
// The place of a webhook is in the log. Whoever leads goes on from there, so a failover repeats events and skips none; the
// id of an event is the same however often it is sent.
package webhook
