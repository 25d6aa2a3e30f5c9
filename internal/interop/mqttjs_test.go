package interop

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/testcluster"
)

const testdata = "../../testdata"

// installed fails the test when the packages of a directory of testdata are not there.
func installed(t testing.TB, dir, target string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(testdata, dir, "node_modules", "mqtt", "package.json")); err != nil {
		t.Fatalf("run make %s: %v", target, err)
	}
	return filepath.Join(testdata, dir)
}

// The story of testdata/mqttjs/story.mjs, in Node.
func TestMQTTJS(t *testing.T) {
	dir := installed(t, "mqttjs", "deps")
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.window=1"}})
	for _, transport := range []string{"mqtt", "ws"} {
		for _, version := range []string{"4", "5"} {
			t.Run("version "+version+" over "+transport, func(t *testing.T) {
				out, code := run(t, "node", filepath.Join(dir, "talk.mjs"), address(n, transport), version, "js-"+transport+version)
				if code != 0 {
					t.Errorf("exit code %d:\n%s", code, out)
				}
			})
		}
	}
}

// The same in a page that a browser opened. Pages of this machine may connect, those of other sites are refused.
func TestBrowser(t *testing.T) {
	if os.Getenv("MADANG_TEST_BROWSER") != "1" {
		t.Skip("a browser is started by make test-browser")
	}
	dir := installed(t, "browser", "test-browser")
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.window=1"}})
	files := map[string]string{
		"/": dir + "/page.html", "/mqtt.js": dir + "/node_modules/mqtt/dist/mqtt.esm.js", "/story.mjs": testdata + "/mqttjs/story.mjs",
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if strings.HasSuffix(file, "js") {
			w.Header().Set("Content-Type", "text/javascript")
		}
		http.ServeFile(w, r, file)
	}))
	defer site.Close()
	_, port, _ := strings.Cut(site.Listener.Addr().String(), ":")
	visit := func(t *testing.T, host, version string) (string, int) {
		t.Helper()
		page := fmt.Sprintf("http://%s:%s/?%s", host, port, url.Values{
			"url": {address(n, "ws")}, "version": {version}, "room": {host + version},
		}.Encode())
		return run(t, "node", filepath.Join(dir, "visit.mjs"), browser(t), page)
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		for _, version := range []string{"4", "5"} {
			t.Run("version "+version+" on "+host, func(t *testing.T) {
				if out, code := visit(t, host, version); code != 0 {
					t.Errorf("exit code %d:\n%s", code, out)
				}
			})
		}
	}
	t.Run("a foreign page", func(t *testing.T) {
		out, code := visit(t, "chat.example.com", "5") // a name of this machine, for the browser
		if code == 0 || !strings.Contains(out, "Unexpected response code: 403") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
}

func browser(t testing.TB) string {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = cmp.Or(path, found)
		}
	}
	if path == "" {
		t.Fatal("no Chromium is there: run make test-browser")
	}
	return path
}
