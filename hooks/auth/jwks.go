package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"golang.org/x/time/rate"

	"github.com/madang-chat/madang/internal/clock"
)

const (
	jwksRefresh  = 5 * time.Minute
	jwksRetry    = 5 * time.Second // after a failure, doubled up to jwksRefresh
	jwksTimeout  = 10 * time.Second
	jwksWait     = 3 * time.Second  // a token with an unknown key id waits this long for a refresh
	jwksOnDemand = 10 * time.Second // at most one refresh per this for unknown key ids
	maxJWKS      = 1 << 20
	maxJWKSKeys  = 64
)

// keySet is the newest key set of a JWKS URL. One goroutine fetches it, at once and then every few minutes; readers
// never wait for the network but for a key id nobody has seen, and then briefly and seldom. While the URL cannot be
// reached the last good set stays in force.
type keySet struct {
	url    string
	client *http.Client
	log    *slog.Logger
	keys   atomic.Pointer[map[string][]setKey] // by key id; nil until the first success
	demand *rate.Limiter
	wake   chan struct{} // one slot: fetch now

	mu      sync.Mutex
	fetched chan struct{} // closed and replaced after every fetch, good or bad
	pending bool          // a fetch is asked for or under way
}

type setKey struct {
	alg string
	key any
}

func newKeySet(rawURL string, log *slog.Logger) (*keySet, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: auth.jwt.jwks_url is not a URL", ErrBadConfig) // err would show its password
	}
	if err := allowedJWKS(u); err != nil {
		return nil, fmt.Errorf("%w: auth.jwt.jwks_url: %w", ErrBadConfig, err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	transport.MaxResponseHeaderBytes = 64 << 10
	return &keySet{
		url: rawURL,
		client: &http.Client{
			Transport: transport,
			Timeout:   jwksTimeout,
			CheckRedirect: func(req *http.Request, via []*http.Request) error {
				if len(via) >= 3 {
					return errors.New("more than 3 redirects")
				}
				return allowedJWKS(req.URL)
			},
		},
		log:     log.With("jwks_url", u.Redacted()),
		demand:  rate.NewLimiter(rate.Every(jwksOnDemand), 1),
		wake:    make(chan struct{}, 1),
		fetched: make(chan struct{}),
		pending: true, // run begins with a fetch
	}, nil
}

// allowedJWKS refuses what somebody on the way could change.
func allowedJWKS(u *url.URL) error {
	switch {
	case u.Host == "":
		return errors.New("it names no host")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("use https, or http to a loopback address")
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// run fetches the key set until ctx ends.
func (s *keySet) run(ctx context.Context) {
	retry := jwksRetry
	for {
		next := jwksRefresh
		if err := s.fetch(ctx); err != nil && ctx.Err() == nil {
			next, retry = retry, min(2*retry, jwksRefresh)
			s.log.Warn("cannot fetch the key set; the last one stays in force", "error", err, "retry_in", next)
		} else {
			retry = jwksRetry
		}
		s.done()
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.wake:
			timer.Stop()
		}
	}
}

// done tells everybody who waits that a fetch is over.
func (s *keySet) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.fetched)
	s.fetched = make(chan struct{})
	s.pending = false
}

// fetch replaces the key set by the one the URL holds now. Keys that cannot verify a token here are left out.
func (s *keySet) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err // without the URL, which may hold a password
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKS+1))
	if err != nil {
		return err
	}
	if len(body) > maxJWKS {
		return fmt.Errorf("larger than %d bytes", maxJWKS)
	}
	keys, skipped, err := parseKeySet(body)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		s.log.Warn("the key set holds no key that can verify a token", "left_out", skipped)
	}
	s.keys.Store(&keys)
	return nil
}

// parseKeySet reads a JWK set. Symmetric keys are always left out: in a public document they are no secret.
func parseKeySet(body []byte) (keys map[string][]setKey, skipped int, err error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, 0, fmt.Errorf("%w: not a JSON key set", ErrBadKey)
	}
	if doc.Keys == nil {
		return nil, 0, fmt.Errorf("%w: no member \"keys\"", ErrBadKey)
	}
	keys = map[string][]setKey{}
	for i, raw := range doc.Keys {
		if i >= maxJWKSKeys {
			return keys, skipped + len(doc.Keys) - i, nil
		}
		jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			skipped++
			continue
		}
		alg, err := algorithmOf(jwk.Key())
		m := jwk.Marshal()
		if err != nil || m.ALG != "" && string(m.ALG) != alg || m.USE != "" && m.USE != jwkset.UseSig {
			skipped++
			continue
		}
		keys[m.KID] = append(keys[m.KID], setKey{alg, jwk.Key()})
	}
	return keys, skipped, nil
}

// find returns the keys that may have signed a token of this algorithm and key id: those with the id, or all of the
// algorithm for a token without one. loaded is false until there was a first key set.
func (s *keySet) find(alg, kid string) (keys []any, loaded bool) {
	set := s.keys.Load()
	if set == nil {
		return nil, false
	}
	for id, candidates := range *set {
		for _, k := range candidates {
			if k.alg == alg && (kid == "" || kid == id) {
				keys = append(keys, k.key)
			}
		}
	}
	return keys, true
}

// refresh waits for the fetch under way, or for a new one if there has been none lately, but not for long. It
// returns false at once when the set is as fresh as it may get.
func (s *keySet) refresh(ctx context.Context) bool {
	s.mu.Lock()
	if !s.pending {
		if !s.demand.AllowN(clock.Now(), 1) {
			s.mu.Unlock()
			return false
		}
		s.wakeLocked()
	}
	fetched := s.fetched
	s.mu.Unlock()

	timer := time.NewTimer(jwksWait)
	defer timer.Stop()
	select {
	case <-fetched:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// refreshSoon asks for a fetch without waiting for it.
func (s *keySet) refreshSoon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending {
		s.wakeLocked()
	}
}

// wakeLocked hands run a fetch to do; mu is held. A slot still full from before serves as well.
func (s *keySet) wakeLocked() {
	s.pending = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
