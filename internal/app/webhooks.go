package app

import (
	"context"
	"errors"

	"github.com/madang-chat/madang/hooks/before"
	"github.com/madang-chat/madang/hooks/webhook"
	"github.com/madang-chat/madang/internal/config"
)

// openWebhooks makes what sends events to the webhooks of the configuration.
func (a *App) openWebhooks() error {
	a.webhooks = webhook.New(webhook.Config{Store: a.store, Log: a.commands(), Leader: a.node, Logger: a.log})
	a.people = webhook.NewPeople(webhook.PeopleConfig{Hooks: a.webhooks, Store: a.store, Leader: a.node, Grace: a.cfg.Rooms.Grace})
	a.before = before.New(a.store, a.log)
	a.onStop("before_send", func(context.Context) error { a.before.Close(); return nil })
	return errors.Join(a.webhooks.Set(webhooksOf(a.cfg)), a.before.Set(beforeSendOf(a.cfg)))
}

func beforeSendOf(c *config.Config) *before.Hook {
	b := &c.Hooks.BeforeSend
	if b.URL == "" {
		return nil
	}
	return &before.Hook{
		Target: webhook.Target{URL: b.URL, SecretFile: b.SecretFile, AllowPrivate: b.AllowPrivate, Timeout: b.Timeout},
		Closed: b.OnFailure == "closed", Rooms: b.Rooms, Concurrency: b.Concurrency, Message: int(c.Limits.Message),
	}
}

func webhooksOf(c *config.Config) (out []webhook.Hook) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		out = append(out, webhook.Hook{
			Name: w.Name, Target: webhook.Target{URL: w.URL, SecretFile: w.SecretFile, AllowPrivate: w.AllowPrivate, Timeout: w.Timeout},
			Filter:      webhook.Filter{Events: w.Events, Namespaces: w.Namespaces, Rooms: w.Rooms},
			Concurrency: w.Concurrency, Retries: w.RetryTimes(),
		})
	}
	return out
}

// ReloadHooks takes over the webhooks of a new configuration, and whom to ask before a send. An error leaves those it names
// as they were.
func (a *App) ReloadHooks(c *config.Config) error {
	return errors.Join(a.webhooks.Set(webhooksOf(c)), a.before.Set(beforeSendOf(c)))
}
