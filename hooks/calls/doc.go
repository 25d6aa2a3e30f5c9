// Package calls is what a user may ask of the broker, once for HTTP and MQTT: the same names, params, checks and results.
//
//	HTTP /api/v1 ──> Calls.RoomCreate(ctx, identity, input) ──┐
//	                                                          ├──> storage.Command ──> Log, and the answer back
//	me/rpc/room.create ──> Calls.Dispatch(name, params) ──────┘    reads ──> Store of this node
//
// Every error is a *problem.Problem. A write returns when its outcome is known, or with outcome_unknown; what it changed
// can then be read on this node. Reads are local and bounded, whatever the size of a room.
//
// Whoever may not read a private room is told not_member and not not_found: the name of the room is known to the one who
// asks, the remedy (ask for an invitation) is another one than for a wrong name, and a write would tell the difference
// anyway.
package calls
