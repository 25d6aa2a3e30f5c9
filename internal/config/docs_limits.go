package config

import (
	"fmt"
	"strings"
)

const limitSection = "limits"

const limitHead = `
## limits

Every limit there is, in one table. 0 turns one off. "In the CONNACK" is where a v5 client is told of it; "over it" is what
happens then: the reason code of v5, and the code of ` + "`me/error`" + `, rpc and HTTP. v3.1.1 has no codes: a PUBACK of it settles a
refused publish as well, its CONNACK says 3 (unavailable) or 2 (client id). Each refusal names its key, as in "A user sends at
most 50 messages a second; slow down (limits.messages_per_second)".

On the ops listener ` + "`/metrics`" + ` has every limit twice: ` + "`madang_limit{limit=\"limits.message\"}`" + ` is its value (seconds and bytes),
and ` + "`madang_limit_refusals_total{limit=\"limits.message\"}`" + ` how often it refused, cut, slowed or ended something, where
"over it" says anything. A flood is refused again and again, then sent away (limits.flood_refusals).

SIGHUP takes all of them over, but for those marked "start": at once, also for connections there are, except what their CONNACK
has told them (Receive Maximum, Maximum Packet Size, keep-alive, session expiry), which is for new ones. Rates are of this
node: a user, room or address on three nodes has them three times.

| key | default | with --dev | what is limited | in the CONNACK | over it |
|---|---|---|---|---|---|
`

// writeLimitDocs writes the one table of limits.
func writeLimitDocs(b *strings.Builder) {
	b.WriteString(limitHead)
	for _, k := range table {
		if k.Section() != limitSection {
			continue
		}
		dev, doc := "", k.Doc
		if k.Dev != nil {
			dev = code(*k.Dev)
		}
		if !k.Reload {
			doc += " *start*"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s |\n", k.Name, code(k.Default), dev, doc, k.Shown, k.Over)
	}
}
