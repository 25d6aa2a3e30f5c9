// Package topic is the grammar of names and topics: what a client may publish to, what a filter means, and how the
// topics of deliveries are made.
//
//	{ns}/rooms/{room}/send[/{type}]        written      {ns}/rooms/{room}/msg/{type}     read
//	{ns}/rooms/{room}/live/{name}/{user}   both         {ns}/rooms/{room}/state/{key}    both
//	{ns}/rooms/{room}/read                 written      {ns}/rooms/{room}/meta|head|presence|receipts|occupancy|tally
//	{ns}/rooms/{room}/cheer/{name}         written                                       read
//	{ns}/users/{user}/send[/{type}]        written      {ns}/users/{user}/inbox|presence read
//	{ns}/broadcast/{type}                  both
//	{ns}/me/rpc/{method}                   written      {ns}/me/reply|ack|error|sync|read  read
//
// It knows form only. Whether a room exists and who may do what is decided by the rules that use it.
package topic

// The names under a room that the broker writes, for RoomTopic and MatchRoom.
const (
	Meta      = "meta"
	Head      = "head"
	Presence  = "presence" // also under a user
	Receipts  = "receipts"
	Occupancy = "occupancy"
	Tally     = "tally"
)

// Inbox is the name of a user's own log, for UserTopic and MatchUser.
const Inbox = "inbox"

// The names under me that the broker writes, for MeTopic and MatchMe.
const (
	MeReply = "reply"
	MeAck   = "ack"
	MeError = "error"
	MeSync  = "sync"
	MeRead  = "read"
)

// Lengths MQTT and this broker set.
const (
	maxBytes  = 65535 // of an MQTT string
	maxLevels = 32    // of a filter; the deepest topic of a room has 6
)

// DefaultType is the type of a message whose topic names none.
const DefaultType = "text"

// MsgTopic is where a message of a room is delivered.
func MsgTopic(ns, room, typ string) string { return ns + "/rooms/" + room + "/msg/" + typ }

// LiveTopic is where a live value is written and delivered.
func LiveTopic(ns, room, name, user string) string {
	return ns + "/rooms/" + room + "/live/" + name + "/" + user
}

// StateTopic is where a state key is written and delivered.
func StateTopic(ns, room, key string) string { return ns + "/rooms/" + room + "/state/" + key }

// RoomTopic is the topic of one of the broker's own values of a room: Meta, Head, Presence, Receipts, Occupancy, Tally.
func RoomTopic(ns, room, name string) string { return ns + "/rooms/" + room + "/" + name }

// UserTopic is the topic of a user's Inbox or Presence.
func UserTopic(ns, user, name string) string { return ns + "/users/" + user + "/" + name }

// BroadcastTopic is where a message to the whole namespace is delivered.
func BroadcastTopic(ns, typ string) string { return ns + "/broadcast/" + typ }

// MeTopic is a topic of one connection: MeReply, MeAck, MeError, MeSync, MeRead. It is the same text for every client.
func MeTopic(ns, name string) string { return ns + "/me/" + name }

// SendTopic is where a message to a room is published.
func SendTopic(ns, room, typ string) string { return ns + "/rooms/" + room + "/send/" + typ }
