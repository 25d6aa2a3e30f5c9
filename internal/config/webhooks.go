package config

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Webhook is one receiver of events. There is a list of them in the file, and no flag or variable for it.
type Webhook struct {
	Name         string
	URL          string
	SecretFile   string
	Events       []string // globs; empty = all
	Namespaces   []string
	Rooms        []string
	Timeout      time.Duration
	Concurrency  int
	Retries      []string // durations
	AllowPrivate bool
}

// Hooks are what is asked while something happens.
type Hooks struct{ BeforeSend BeforeSend }

// BeforeSend is who is asked before a message is taken.
type BeforeSend struct {
	URL          string // "" = nobody
	SecretFile   string
	Timeout      time.Duration
	OnFailure    string   // "open" or "closed"
	Rooms        []string // globs; empty = all
	Concurrency  int
	AllowPrivate bool
}

const (
	webhooksKey    = "webhooks"
	maxWebhooks    = 64
	maxRetries     = 20
	maxConcurrency = 256
)

var hookName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// hook is the one webhook that the rows of webhookTable read and write.
func (c *Config) hook() *Webhook {
	if len(c.Webhooks) == 0 {
		c.Webhooks = make([]Webhook, 1)
	}
	return &c.Webhooks[0]
}

// webhookTable holds the keys of an element of webhooks.
var webhookTable = []*Key{
	{
		Name: "name", field: func(c *Config) any { return &c.hook().Name },
		Doc: "Its name in the log, in metrics and for GET /webhooks. Another name is another webhook, which begins at the end.",
	},
	{
		Name: "url", field: func(c *Config) any { return &c.hook().URL },
		Doc: "Where events are posted: https, or http to a private network with allow_private.",
	},
	{
		Name: "secret_file", field: func(c *Config) any { return &c.hook().SecretFile },
		Doc: "File of secrets of Standard Webhooks (`whsec_` and base64), one a line; each signs, so that one can be exchanged.",
	},
	{
		Name: "events", field: func(c *Config) any { return &c.hook().Events },
		Doc: "Which events, such as `message.*`, `member.*`, `room.*`, `user.online`. Empty: all.",
	},
	{
		Name: "namespaces", field: func(c *Config) any { return &c.hook().Namespaces },
		Doc: "Of which namespaces. Empty: of all.",
	},
	{
		Name: "rooms", field: func(c *Config) any { return &c.hook().Rooms },
		Doc: "Of which rooms, such as `support.*`. Empty: of all.",
	},
	{
		Name: "timeout", Default: "10s", Min: 1, field: func(c *Config) any { return &c.hook().Timeout },
		Doc: "How long the receiver may take for one event.",
	},
	{
		Name: "concurrency", Default: "8", Min: 1, field: func(c *Config) any { return &c.hook().Concurrency },
		Doc: "Rooms of which events are sent at once. Those of one room are sent one after the other.",
	},
	{
		Name: "retries", Default: "5s,1m,5m,30m,2h", field: func(c *Config) any { return &c.hook().Retries },
		Doc: "How long to wait between the tries of an event. After the last one it is a dead letter.",
	},
	{
		Name: "allow_private", Default: "false", field: func(c *Config) any { return &c.hook().AllowPrivate },
		Doc: "The receiver is on this machine or in a private network, where nothing is sent otherwise.",
	},
}

// hookKeys are the keys of the section hooks.
func hookKeys() []*Key {
	h := func(c *Config) *BeforeSend { return &c.Hooks.BeforeSend }
	return []*Key{
		{
			Name: "hooks.before_send.url", Reload: true, field: func(c *Config) any { return &h(c).URL },
			Doc: "Who is asked before a message is taken: https, or http to a private network with allow_private. Empty: nobody.",
		},
		{
			Name: "hooks.before_send.secret_file", Reload: true, field: func(c *Config) any { return &h(c).SecretFile },
			Doc: "File of the secrets that sign what is asked, as those of webhooks.",
		},
		{
			Name: "hooks.before_send.timeout", Default: "500ms", Min: 1, Reload: true, field: func(c *Config) any { return &h(c).Timeout },
			Doc: "How long the answer may take.",
		},
		{
			Name: "hooks.before_send.on_failure", Default: "open", OneOf: []string{"open", "closed"}, Reload: true,
			field: func(c *Config) any { return &h(c).OnFailure },
			Doc:   "What happens to a message about which there is no answer: it is taken, or refused. A room may say otherwise.",
		},
		{
			Name: "hooks.before_send.rooms", Reload: true, field: func(c *Config) any { return &h(c).Rooms },
			Doc: "Of which rooms, such as `public.*`. Empty: of all. A room may say otherwise.",
		},
		{
			Name: "hooks.before_send.concurrency", Default: "64", Min: 1, Reload: true, field: func(c *Config) any { return &h(c).Concurrency },
			Doc: "Questions that this node asks at once.",
		},
		{
			Name: "hooks.before_send.allow_private", Default: "false", Reload: true, field: func(c *Config) any { return &h(c).AllowPrivate },
			Doc: "Who is asked is on this machine or in a private network, where nothing is sent otherwise.",
		},
	}
}

// webhooks reads the list of webhooks.
func (r *yamlReader) webhooks(n *yaml.Node) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n.Line, webhooksKey, "is a list; each element begins with `- name:`")
		return
	}
	for i, el := range n.Content {
		at := fmt.Sprintf("%s[%d]", webhooksKey, i)
		if el.Kind != yaml.MappingNode || el.Anchor != "" {
			r.fail(el.Line, at, "is a webhook with keys of its own: name, url, secret_file")
			continue
		}
		r.hooks = append(r.hooks, r.webhook(at, el))
		r.hookLines = append(r.hookLines, el.Line)
	}
}

// webhook reads one, with the same strictness as the rest of the file.
func (r *yamlReader) webhook(at string, n *yaml.Node) Webhook {
	c := new(Config)
	for _, k := range webhookTable {
		if err := k.set(c, k.Default); err != nil {
			r.fail(n.Line, at+"."+k.Name, "%s", err)
		}
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		name := at + "." + key.Value
		j := slices.IndexFunc(webhookTable, func(k *Key) bool { return k.Name == key.Value })
		first, twice := lines[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || key.Anchor != "" || val.Anchor != "" || val.Kind == yaml.AliasNode:
			r.fail(key.Line, at, "anchors, aliases and merged keys are not supported")
			continue
		case j < 0:
			msg := "unknown key"
			var names []string
			for _, k := range webhookTable {
				names = append(names, k.Name)
			}
			if near := nearest(key.Value, names); near != "" {
				msg += fmt.Sprintf(" (did you mean %s?)", near)
			}
			r.fail(key.Line, name, "%s", msg)
			continue
		case twice:
			r.fail(key.Line, name, "is already set in line %d", first)
			continue
		}
		lines[key.Value] = key.Line
		k := *webhookTable[j]
		k.Name = name
		had := len(r.found)
		if r.value(&k, val); len(r.found) == had {
			continue
		}
		text := r.found[had].text
		r.found = r.found[:had]
		if err := k.set(c, text); err != nil {
			r.fail(key.Line, name, "%s", err)
		}
	}
	return *c.hook()
}

// RetryTimes are Retries as durations; Validate has read them.
func (w *Webhook) RetryTimes() (out []time.Duration) {
	for _, s := range w.Retries {
		if d, err := ParseDuration(s); err == nil {
			out = append(out, d)
		}
	}
	return out
}

// webhooks checks the webhooks and the hook before a send.
func (v *validator) webhooks() {
	seen := map[string]bool{}
	if len(v.c.Webhooks) > maxWebhooks {
		v.failHook(0, "", "there are %d; a cluster has at most %d", len(v.c.Webhooks), maxWebhooks)
	}
	for i := range v.c.Webhooks {
		w := &v.c.Webhooks[i]
		if !hookName.MatchString(w.Name) {
			v.failHook(i, "name", "%q is not a name of 1 to 64 letters, digits and . _ -", w.Name)
		} else if seen[w.Name] {
			v.failHook(i, "name", "%q is the name of another webhook", w.Name)
		}
		seen[w.Name] = true
		if err := checkHookURL(w.URL, w.AllowPrivate); err != nil {
			v.failHook(i, "url", "%s", err)
		}
		if w.SecretFile == "" {
			v.failHook(i, "secret_file", "is needed: `echo whsec_$(openssl rand -base64 32)` makes a secret")
		}
		if w.Concurrency > maxConcurrency {
			v.failHook(i, "concurrency", "must not be more than %d", maxConcurrency)
		}
		if len(w.Retries) > maxRetries {
			v.failHook(i, "retries", "there are more than %d", maxRetries)
		}
		for _, s := range w.Retries {
			if d, err := ParseDuration(s); err != nil || d == 0 {
				v.failHook(i, "retries", "%q is not a duration such as 5s", s)
			}
		}
		for _, l := range []struct {
			key   string
			globs []string
		}{{"events", w.Events}, {"namespaces", w.Namespaces}, {"rooms", w.Rooms}} {
			if g := badGlob(l.globs); g != "" {
				v.failHook(i, l.key, "%q is no pattern: characters of a name, and * for any", g)
			}
		}
	}
	b := &v.c.Hooks.BeforeSend
	if b.URL == "" {
		return
	}
	if err := checkHookURL(b.URL, b.AllowPrivate); err != nil {
		v.fail("hooks.before_send.url", "%s", err)
	}
	if b.SecretFile == "" {
		v.fail("hooks.before_send.secret_file", "is needed: `echo whsec_$(openssl rand -base64 32)` makes a secret")
	}
	if g := badGlob(b.Rooms); g != "" {
		v.fail("hooks.before_send.rooms", "%q is no pattern: characters of a name, and * for any", g)
	}
}

func (v *validator) failHook(i int, key, format string, args ...any) {
	src := v.c.Source(webhooksKey)
	if i < len(v.c.hookLines) {
		src.Line = v.c.hookLines[i]
	}
	name := fmt.Sprintf("%s[%d].%s", webhooksKey, i, key)
	v.errs = append(v.errs, &Error{Source: src, Key: strings.TrimSuffix(name, "."), Msg: fmt.Sprintf(format, args...)})
}

func badGlob(globs []string) string {
	for _, g := range globs {
		if g == "" || strings.ContainsAny(g, `[]?\/`) {
			return g
		}
	}
	return ""
}

// checkHookURL says why a URL cannot be posted to. It never quotes it: it may hold a password.
func checkHookURL(raw string, private bool) error {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return fmt.Errorf("is needed: where to post")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("is not https://host/path")
	case u.Scheme == "http" && !private:
		return fmt.Errorf("must be https; http is for this machine and private networks, with allow_private: true")
	}
	return nil
}

// checkWebhookFiles looks at the secrets of the webhooks.
func (v *validator) checkWebhookFiles() {
	for i := range v.c.Webhooks {
		if f := v.c.Webhooks[i].SecretFile; f != "" {
			if _, err := os.ReadFile(f); err != nil {
				v.failHook(i, "secret_file", "%s: %s", f, reason(err))
			}
		}
	}
}

// writeWebhookDocs writes the keys of a webhook as a table.
func writeWebhookDocs(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\nA list in the file, at most %d; there is no flag or variable for it. *reload*\n\n", webhooksKey, maxWebhooks)
	b.WriteString("```yaml\nwebhooks:\n  - name: push\n    url: https://push.example.com/madang\n    secret_file: /etc/madang/push.secret\n" +
		"    events: [\"message.*\", \"member.*\"]\n```\n\n| key of an element | kind | default | |\n|---|---|---|---|\n")
	for _, k := range webhookTable {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", k.Name, k.kindOrChoice(), code(k.Default), k.Doc)
	}
}
