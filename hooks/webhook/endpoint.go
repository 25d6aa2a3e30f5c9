package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// maxAnswer is how much of an answer is read.
const maxAnswer = 64 << 10

// Target is where and how to post.
type Target struct {
	URL          string
	SecretFile   string
	AllowPrivate bool
	Timeout      time.Duration
	Conns        int // kept open
	Answer       int // bytes of an answer that are read; 64 KiB at least
}

// Endpoint posts to one receiver. It is safe for concurrent use.
type Endpoint struct {
	url     string
	signer  Signer
	timeout time.Duration
	most    int64
	client  *http.Client
}

// Answer is what a receiver says. RetryAfter is 0 when it does not say when to come again.
type Answer struct {
	Status     int
	RetryAfter time.Duration
	Body       []byte // what is read of it
	Cut        bool   // there was more
}

// OK reports whether the receiver took what was posted.
func (a *Answer) OK() bool { return a.Status >= 200 && a.Status < 300 }

// NewEndpoint reads the secrets and checks the URL.
func NewEndpoint(t Target) (*Endpoint, error) {
	g, err := checkURL(t.URL, t.AllowPrivate)
	if err != nil {
		return nil, err
	}
	signer, err := ReadSecrets(t.SecretFile)
	if err != nil {
		return nil, err
	}
	d := &net.Dialer{Timeout: t.Timeout, KeepAlive: 30 * time.Second, Control: g.control}
	return &Endpoint{
		url: t.URL, signer: signer, timeout: t.Timeout, most: int64(max(t.Answer, maxAnswer)),
		client: &http.Client{
			Transport: &http.Transport{
				DialContext: d.DialContext, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
				MaxIdleConnsPerHost: max(t.Conns, 1), IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: maxAnswer,
				DisableCompression: true, // an answer has the size it has
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close ends connections that are idle.
func (e *Endpoint) Close() { e.client.CloseIdleConnections() }

// Post sends a body under an id and returns the answer, within the endpoint's time-out. An error says that there was none;
// its text holds neither the URL nor a secret.
func (e *Endpoint) Post(ctx context.Context, id string, body []byte) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return Answer{}, errors.New("the url is not one")
	}
	now := clock.Now().Unix()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "madang")
	req.Header.Set(HeaderID, id)
	req.Header.Set(HeaderTimestamp, strconv.FormatInt(now, 10))
	req.Header.Set(HeaderSignature, e.signer.Sign(id, now, body))
	resp, err := e.client.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // without the URL
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return Answer{}, fmt.Errorf("no answer within %v", e.timeout)
		}
		return Answer{}, err
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"))}
	a.Body, err = io.ReadAll(io.LimitReader(resp.Body, e.most+1))
	if int64(len(a.Body)) > e.most {
		a.Body, a.Cut = a.Body[:e.most], true
	}
	if err != nil && !a.OK() {
		err = nil // what went wrong is known already
	}
	return a, err
}

// retryAfter reads seconds or a date; 0 for anything else.
func retryAfter(s string) time.Duration {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(clock.Until(t), 0)
	}
	return 0
}
