package api

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/quota"
)

// Posts and other writes use the quota that connections by MQTT use; reads and logins do not.
func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := quota.New(quota.Limits{Messages: 1})
		r := newRig(t, func(_ *calls.Config, c *Config) { c.Quotas = q }).rooms()
		const post = "POST /rooms/pub/messages"
		mqtt := q.Of(quota.Holder(auth.Identity{Namespace: "chat", User: "alice"}, remoteAddr(request("", "GET /", ""))))
		defer mqtt.Done()
		for i := range 4 { // four seconds' worth, half of it by MQTT
			if i%2 == 0 {
				if wait := mqtt.Take(1); wait != 0 {
					t.Fatal(wait)
				}
			} else if w := r.do("alice", post, "x", asText); w.Code != 201 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		proposed := r.log.Proposed()
		for _, line := range []string{post, "POST /rooms/pub/join", "POST /rooms/pub/leave", "DELETE /rooms/pub"} {
			w := r.do("alice", line, "")
			r.refused(w, 429, problem.RateLimited, "")
			if w.Header().Get("Retry-After") != "1" {
				t.Errorf("%s: Retry-After %q", line, w.Header().Get("Retry-After"))
			}
		}
		r.refused(r.do("alice", "POST /rooms", `{"room":"x"}`, asJSON), 429, problem.RateLimited, "")
		r.refused(r.do("alice", "PATCH /rooms/pub", `{"name":"x"}`, asJSON), 429, problem.RateLimited, "")
		if n := r.log.Proposed() - proposed; n != 0 {
			t.Errorf("%d commands reached the log", n)
		}
		if mqtt.Take(1) == 0 {
			t.Error("MQTT has a quota of its own")
		}
		for _, line := range []string{"GET /rooms/pub/messages", "GET /rooms", "GET /whoami"} {
			if w := r.do("alice", line, ""); w.Code != 200 {
				t.Errorf("%s: %d %s", line, w.Code, w.Body)
			}
		}
		if w := r.do("bob", post, "x", asText); w.Code != 201 { // others are not concerned
			t.Errorf("%d %s", w.Code, w.Body)
		}
		time.Sleep(time.Second)
		if w := r.do("alice", post, "x", asText); w.Code != 201 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// Guests share the quota of their address; bytes count as well as messages.
func TestQuotaOfGuestsAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *calls.Config, c *Config) {
			c.Quotas = quota.New(quota.Limits{Bytes: 100, Largest: 1000})
		}).rooms()
		body := make([]byte, 900)
		for i := range body {
			body[i] = 'x'
		}
		if w := r.do("guest~1", "POST /rooms/open/messages", string(body), asText); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		w := r.do("guest~2", "POST /rooms/open/messages", string(body), asText)
		r.refused(w, 429, problem.RateLimited, "")
		if w.Header().Get("Retry-After") != "8" {
			t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
		}
		elsewhere := request("guest~2", "POST /rooms/open/messages", string(body), asText)
		elsewhere.RemoteAddr = "192.0.2.77:1"
		if w := r.serve(elsewhere); w.Code != 201 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
