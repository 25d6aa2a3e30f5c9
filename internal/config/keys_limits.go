package config

// limitKeys returns the keys of limits. 0 = off for each of them, as their documentation says once.
func limitKeys() []*Key {
	off := new("0")
	l := func(name, def string, d *string, doc string, field func(*Limits) any) *Key {
		return &Key{
			Name: "limits." + name, Default: def, Dev: d, Doc: doc,
			field: func(c *Config) any { return field(&c.Limits) },
		}
	}
	return []*Key{
		l("message", "256KiB", nil, "Bytes of one message; larger ones are refused as too_large.",
			func(l *Limits) any { return &l.Message }),
		l("packet", "16MiB", nil, "Bytes of one packet; up to it a message that is too large is read and refused, "+
			"beyond it the connection ends.",
			func(l *Limits) any { return &l.Packet }),
		l("ack_wait", "30s", nil, "How long a publish may have no known outcome before its connection is closed.",
			func(l *Limits) any { return &l.AckWait }),
		l("dedupe_window", "72h", nil, "How long a cid is remembered.",
			func(l *Limits) any { return &l.DedupeWindow }),
		l("dedupe_min", "10000", nil, "Newest entries of a room whose cid is remembered however old they are.",
			func(l *Limits) any { return &l.DedupeMin }),
		l("in_flight", "1000", nil, "Publishes of one connection that have no outcome yet; then it is read no further.",
			func(l *Limits) any { return &l.InFlight }),
		l("in_flight_bytes", "1MiB", nil, "Bytes of these.",
			func(l *Limits) any { return &l.InFlightBytes }),
		l("pending_bytes", "256MiB", nil, "Bytes of publishes without an outcome, all connections of the node together.",
			func(l *Limits) any { return &l.PendingBytes }),
		l("tail_bytes", "64MiB", nil, "Memory for the newest entries, all rooms of the node together.",
			func(l *Limits) any { return &l.TailBytes }),
		l("outbound_bytes", "512MiB", nil, "Bytes waiting for sockets, all connections of the node together; "+
			"the longest queue is cut first.",
			func(l *Limits) any { return &l.OutboundBytes }),
		l("connection_bytes", "1MiB", nil, "Bytes waiting for one socket; a slower reader goes on from the log.",
			func(l *Limits) any { return &l.ConnectionBytes }),
		l("window", "256", nil, "Deliveries of one connection that are not acknowledged yet; "+
			"the client's Receive Maximum counts where it is lower.",
			func(l *Limits) any { return &l.Window }),
		l("qos0_lag", "10000", nil, "Entries a QoS 0 subscription may be behind before it skips to the head.",
			func(l *Limits) any { return &l.QoS0Lag }),
		l("qos0_lag_time", "1m", nil, "Time it may be behind before it skips to the head.",
			func(l *Limits) any { return &l.QoS0LagTime }),
		l("stalled", "1m", nil, "A connection that takes nothing for this long, though something waits, is closed.",
			func(l *Limits) any { return &l.Stalled }),
		l("rooms_per_user", "10000", nil, "Rooms a user may have joined.",
			func(l *Limits) any { return &l.RoomsPerUser }),
		l("contacts", "5000", nil, "Contacts a user may have, and others a user may have blocked.",
			func(l *Limits) any { return &l.Contacts }),
		l("contacts_per_day", "200", off, "Contacts a user may add in a day; each is a request to somebody.",
			func(l *Limits) any { return &l.ContactsPerDay }),
		l("rooms_per_day", "100", off, "Rooms a user may make in a day by sending to them (rooms.auto_create).",
			func(l *Limits) any { return &l.RoomsPerDay }),
		l("sessions_per_user", "100", off, "Sessions of one user, connected or not.",
			func(l *Limits) any { return &l.SessionsPerUser }),
		l("session_expiry", "30d", nil, "Longest time a session is kept without a connection.",
			func(l *Limits) any { return &l.SessionExpiry }),
		l("filters_per_subscribe", "100", nil, "Filters of one SUBSCRIBE.",
			func(l *Limits) any { return &l.FiltersPerSubscribe }),
		l("filters_per_session", "1000", nil, "Filters of one session.",
			func(l *Limits) any { return &l.FiltersPerSession }),
		l("topic_levels", "16", nil, "Levels of a topic or filter.",
			func(l *Limits) any { return &l.TopicLevels }),
		l("disk_free", "512MiB", new("128MiB"), "Free space on the disk of the data below which no writes are taken (storage_full); "+
			"reads go on.",
			func(l *Limits) any { return &l.DiskFree }),
		l("disk_reserve", "64MiB", nil, "Bytes kept in a file of the data directory, so that a node that finds the disk full can still "+
			"end in order.",
			func(l *Limits) any { return &l.DiskReserve }),
		l("connections", "100000", nil, "Connections of the node.",
			func(l *Limits) any { return &l.Connections }),
		l("connections_per_address", "1000", off, "Connections from one address.",
			func(l *Limits) any { return &l.ConnectionsPerAddress }),
		l("connect_rate", "100", off, "New connections per second from one address.",
			func(l *Limits) any { return &l.ConnectRate }),
		l("register_rate", "1", off, "Registrations per second from one address; four at once are let through.",
			func(l *Limits) any { return &l.RegisterRate }),
		l("connect_timeout", "10s", nil, "Time from the first byte of a connection to a complete CONNECT.",
			func(l *Limits) any { return &l.ConnectTimeout }),
		l("keepalive_max", "1h", nil, "Longest keep-alive; a client that asks for more, or for none, gets this one.",
			func(l *Limits) any { return &l.KeepaliveMax }),
		l("messages_per_second", "50", off, "Messages of one user per second.",
			func(l *Limits) any { return &l.MessagesPerSecond }),
		l("bytes_per_second", "1MiB", off, "Bytes of messages of one user per second.",
			func(l *Limits) any { return &l.BytesPerSecond }),
	}
}
