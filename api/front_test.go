package api

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/problem"
)

// No path is sent elsewhere: what is not there is a problem, for a POST above all.
func TestFrontPaths(t *testing.T) {
	r := newRig(t).rooms()
	mqtt := 0
	f := &Front{API: r.API, MQTT: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { mqtt++ })}
	for _, method := range []string{"GET", "POST", "PUT", "HEAD", "OPTIONS"} {
		for _, path := range []string{
			"//api/v1/rooms", "/api/../api/v1/rooms", "/api/v1//rooms", "/api/v1/rooms/", "/api/v1/./rooms", "/api/v1/rooms/pub/../pub",
			"/%2e%2e/api/v1/rooms", "/api/%2e%2e/mqtt", "/mqtt/", "//mqtt", "/x/../mqtt", "/", "/api", "/index.html", "/..", "/mqttx",
		} {
			w := httptest.NewRecorder()
			req := httptest.NewRequest(method, "http://example.com"+path, nil)
			req.Header.Set("Authorization", "Bearer alice")
			f.ServeHTTP(w, req)
			if w.Code != 404 || w.Header().Get("Location") != "" {
				t.Errorf("%s %s: %d, Location %q", method, path, w.Code, w.Header().Get("Location"))
				continue
			}
			if code, _ := problemOf(t, w); code != problem.NotFound {
				t.Errorf("%s %s: %s", method, path, w.Body)
			}
		}
	}
	if mqtt != 0 {
		t.Errorf("MQTT was asked %d times", mqtt)
	}
	f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/mqtt?x=1", nil))
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Base+"/health", nil))
	if mqtt != 1 || w.Code != 200 {
		t.Errorf("MQTT was asked %d times; %d %s", mqtt, w.Code, w.Body)
	}
}

func TestFrontHosts(t *testing.T) {
	r := newRig(t)
	mqtt := 0
	f := &Front{
		API: r.API, MQTT: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { mqtt++ }),
		AllowHost: func(host string) bool { return host == "localhost:8080" },
	}
	for _, path := range []string{"/mqtt", "/api/v1/health", "/nothing"} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://evil.example:8080"+path, nil))
		r.refused(w, 421, problem.Forbidden, "evil.example:8080")
		if _, detail := problemOf(t, w); !strings.Contains(detail, "listeners.web.origins") {
			t.Error(detail)
		}
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost:8080/api/v1/health", nil))
	if mqtt != 0 || w.Code != 200 {
		t.Errorf("MQTT was asked %d times; %d %s", mqtt, w.Code, w.Body)
	}
}

func TestRefuse(t *testing.T) {
	for status, code := range map[int]problem.Code{
		400: problem.BadPayload, 401: problem.Unauthenticated, 403: problem.Forbidden, 405: problem.Unsupported, 426: problem.Unsupported,
		429: problem.RateLimited, 500: problem.Internal, 503: problem.NoQuorum,
	} {
		w := httptest.NewRecorder()
		Refuse(w, status, "because")
		if got, detail := problemOf(t, w); w.Code != status || got != code || detail != "because" {
			t.Errorf("%d: %d %s %q", status, w.Code, got, detail)
		}
	}
}

func TestOpsHosts(t *testing.T) {
	r := newRig(t)
	h := NewOps(OpsConfig{Node: &node{}, Digester: r.log.Store, AllowHost: func(host string) bool { return host == "localhost" }})
	for host, status := range map[string]int{"localhost": 200, "evil.example": 421} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://"+host+"/livez", nil))
		if w.Code != status {
			t.Errorf("%s: %d %s", host, w.Code, w.Body)
		}
	}
}

func TestVerifyWithoutTLS(t *testing.T) {
	for _, state := range []*tls.ConnectionState{nil, {}} {
		if verify(state, nil) == nil {
			t.Error("nothing was shown and it is enough")
		}
	}
}
