package page

import (
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, url string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", url, nil))
	return w
}

func TestPageIsServedWithAPolicy(t *testing.T) {
	for url, contentType := range map[string]string{
		"/": "text/html", "/page/page.css": "text/css", "/page/main.mjs": "text/javascript", "/page/uplot/uPlot.iife.min.js": "text/javascript",
		"/page/icon.svg": "image/svg+xml", "/page/uplot/LICENSE": "text/plain",
	} {
		w := get(t, url)
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), contentType) {
			t.Errorf("%s: %d %s; want 200 %s", url, w.Code, w.Header().Get("Content-Type"), contentType)
		}
		if got := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy %q", url, got)
		}
		if w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s sets a cookie", url)
		}
	}
	for _, url := range []string{"/index.html", "/page/", "/page/index.html", "/page/uplot/", "/page/../page.go"} {
		if w := get(t, url); w.Code == 200 {
			t.Errorf("%s: 200", url)
		}
	}
}

// What the page names is there, and nothing is elsewhere: it works below any path and without a network.
func TestPageNamesOnlyWhatIsEmbedded(t *testing.T) {
	named := regexp.MustCompile(`(?:href|src)="([^"]+)"|from '([^']+)'|url\(([^)]+)\)`)
	answered := map[string]bool{"status": true, "metrics": true, "readyz": true, "debug/pprof/": true} // by the listener itself
	err := fs.WalkDir(static, "static", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.Contains(name, "/uplot/") {
			return err
		}
		body, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range named.FindAllStringSubmatch(string(body), -1) {
			ref := m[1] + m[2] + m[3]
			at := "/" + ref // of the page
			if m[1] == "" {
				at = path.Join("/page", strings.TrimPrefix(path.Dir(name), "static"), ref)
			}
			if !answered[ref] && get(t, at).Code != 200 {
				t.Errorf("%s names %s, which is not there", name, ref)
			}
		}
		if s := strings.ReplaceAll(string(body), "http://www.w3.org/2000/svg", ""); strings.Contains(s, "://") {
			t.Errorf("%s has an absolute URL", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What the page makes of numbers, in Node.js.
func TestScripts(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("missing: node")
	} else if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), node, "testdata/scripts.mjs").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
