// Package broker speaks MQTT: it accepts connections, keeps their sessions, turns what they send into calls of hooks and
// commands for the log, and delivers what the store holds.
//
// Of mochi-mqtt it uses the packet codec alone (DESIGN.md, "Why not mochi's server half", has the figures).
//
// # Goroutines and who owns what
//
//	reader     one per connection: reads and decodes packets, decides, proposes. Owns the alias table.
//	worker     one per processor: owns the delivery state of its connections (subscriptions, cursors, windows)
//	           and does all their writing. Others reach it by post and by marking clients and rooms dirty.
//	dispatcher one: takes what Apply changed from the store's watcher and tells the workers.
//	catch-up   a few: read pages of entries and room lists from the disk for cursors that are behind.
//
// A message goes one way: reader -> log -> store -> dispatcher -> worker -> socket. Nothing here blocks Apply, and no
// reader waits for another connection's socket.
//
// Lock order: Broker.mu before client.acks.mu; workers' inbox locks are leaves.
package broker
