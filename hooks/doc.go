// Package hooks holds the rules of chat: what a publish to a topic means, who may write and read a room, which filters
// are granted. They are plain functions over our own types; the broker calls them where an MQTT server calls its hooks,
// and knows no rule itself.
//
// The rules here decide what can be decided on this node at once: topic, payload, guests, limits. What the log decides
// (membership, frozen rooms, duplicates) is decided again by storage.Apply, whose word counts.
package hooks
