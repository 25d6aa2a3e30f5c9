package config

import (
	"fmt"
	"net/url"
	"strings"
)

// AllowOrigin reports whether a page of that origin (the header as sent) may use the web listener, which it reached
// as host. No origin means no browser, which is allowed; the same origin always is.
func (w *Web) AllowOrigin(origin, host string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	if strings.EqualFold(u.Host, host) {
		return true
	}
	for _, o := range w.Origins {
		switch {
		case o == "*", strings.EqualFold(o, origin):
			return true
		case o == "localhost" && loopbackHost(strings.ToLower(u.Hostname())):
			return true
		}
	}
	return false
}

func checkOrigin(o string) error {
	if o == "*" || o == "localhost" {
		return nil
	}
	u, err := url.Parse(o)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != o {
		return fmt.Errorf("%q is not an origin such as https://chat.example.com, nor localhost, nor *", o)
	}
	return nil
}
