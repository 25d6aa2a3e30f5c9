package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

const (
	apiTimeout = 40 * time.Second // above limits.ack_wait: the broker answers first
	maxAnswer  = 16 << 20
)

// apiClient calls the HTTP API of a running broker.
type apiClient struct {
	server, user, token, caFile string
	passwordStdin               bool
}

func (c *apiClient) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&c.server, "server", "http://127.0.0.1:8080", "`URL` of the broker's web listener")
	fl.StringVar(&c.token, "token", "", "`token` to log in with (default: MADANG_TOKEN)")
	fl.StringVar(&c.user, "user", "", "`user` to log in as, with --password-stdin")
	fl.StringVar(&c.caFile, "cafile", "", "`file` with the certificates (PEM) to trust for https")
	fl.BoolVar(&c.passwordStdin, "password-stdin", false, "read the user's password from the first line of stdin")
}

// call sends body to a path below /api/v1 and reads the answer into result; both may be nil. A refusal is an error
// with the broker's title and code.
func (c *apiClient) call(cmd *cobra.Command, method, path string, body, result any) error {
	base, err := url.Parse(c.server)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return usagef("--server %q is not an http or https URL", c.server)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), apiTimeout)
	defer cancel()
	token, err := c.login(ctx, cmd)
	if err != nil {
		return err
	}
	return c.send(ctx, method, path, token, body, result)
}

// login returns the token to call with.
func (c *apiClient) login(ctx context.Context, cmd *cobra.Command) (string, error) {
	if c.user == "" {
		if c.passwordStdin {
			return "", usagef("--password-stdin goes with --user")
		}
		token := cmp.Or(c.token, os.Getenv("MADANG_TOKEN"))
		if token == "" {
			return "", usagef("who is asking? give --token or MADANG_TOKEN, or --user with --password-stdin")
		}
		return token, nil
	}
	if c.token != "" || !c.passwordStdin {
		return "", usagef("--user goes with --password-stdin, and without --token")
	}
	password, err := readPassword(ctx, cmd.InOrStdin(), cmd.ErrOrStderr())
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"token"`
	}
	body := map[string]string{"user": c.user, "password": string(password)}
	if err := c.send(ctx, http.MethodPost, "/auth/login", "", body, &answer); err != nil {
		return "", fmt.Errorf("login: %w", err)
	}
	if answer.Token == "" {
		return "", errors.New("login: the broker sent no token")
	}
	c.token, c.user, c.passwordStdin = answer.Token, "", false // stdin is read once, whatever is called next
	return answer.Token, nil
}

func (c *apiClient) send(ctx context.Context, method, path, token string, body, result any) error {
	resp, err := c.open(ctx, method, path, token, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(data, result); err != nil {
		return fmt.Errorf("%s answers something that is no JSON: %w", c.server, err)
	}
	return nil
}

// open is send for an answer that the caller reads, and closes. A refusal is an error.
func (c *apiClient) open(ctx context.Context, method, path, token string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	return c.stream(ctx, method, path, token, "application/json", content)
}

// stream is open with a body that is sent as it is read.
func (c *apiClient) stream(ctx context.Context, method, path, token, contentType string, content io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.server, "/")+"/api/v1"+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	if content != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	conf, err := trust(c.caFile)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err, ok := errors.AsType[*url.Error](err); ok {
		return nil, unreached(req.URL.Host, err.Err)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		return nil, refusal(resp, data)
	}
	return resp, nil
}

// refusal makes an error of a problem document (RFC 9457), or of the status where there is none.
func refusal(resp *http.Response, data []byte) error {
	var p struct {
		Title      string   `json:"title"`
		Detail     string   `json:"detail"`
		Code       string   `json:"code"`
		RetryAfter *float64 `json:"retry_after"`
	}
	if json.Unmarshal(data, &p) != nil || p.Title == "" && p.Code == "" {
		return fmt.Errorf("%s %s: %s", resp.Request.Method, resp.Request.URL.Path, resp.Status)
	}
	text := cmp.Or(p.Title, resp.Status)
	if p.Detail != "" && p.Detail != p.Title {
		text += " " + p.Detail
	}
	if p.Code != "" {
		text += " (" + p.Code + ")"
	}
	if p.RetryAfter != nil {
		text += fmt.Sprintf("; try again in %g s", *p.RetryAfter)
	}
	return errors.New(text)
}

// newTable is a command that prints what a path answers: as columns, which show separates by tabs, or with --json as it is.
func newTable(c *apiClient, use, short, path string, show func(w io.Writer, answer []byte) error) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var answer json.RawMessage
			if err := c.call(cmd, http.MethodGet, path, nil, &answer); err != nil {
				return err
			}
			if asJSON {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(string(answer)))
				return err
			}
			tw := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			if err := show(tw, answer); err != nil {
				return err
			}
			return tw.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as it is")
	return cmd
}
