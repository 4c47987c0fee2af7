// Package page is what the admin listener shows to a person: one HTML page, its style and its scripts, embedded. It asks
// /status each second; nothing of it comes from elsewhere.
package page

import (
	"embed"
	"io/fs"
	"net/http"
	"path"
	"strconv"
)

//go:embed static
var static embed.FS

// types are those of the files by how their names end; the rest is text.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".mjs":  "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// policy lets the page load and ask this listener only, and be shown in no other page. uPlot sets styles of elements by the
// object model, which needs no exception.
const policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler answers GET / with the page, and GET /page/ with what it is made of. All URLs in it are relative.
func Handler() http.Handler {
	mux := http.NewServeMux()
	err := fs.WalkDir(static, "static", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		body, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		at := "/page" + name[len("static"):]
		if at == "/page/index.html" {
			at = "/{$}"
		}
		mux.Handle("GET "+at, newFile(name, body))
		return nil
	})
	if err != nil {
		panic("h2tp: bug: " + err.Error())
	}
	return mux
}

// file is one of the embedded files.
type file struct {
	contentType string
	body        []byte
}

func newFile(name string, body []byte) *file {
	f := &file{contentType: types[path.Ext(name)], body: body}
	if f.contentType == "" {
		f.contentType = "text/plain; charset=utf-8"
	}
	return f
}

func (f *file) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", strconv.Itoa(len(f.body)))
	h.Set("Content-Security-Policy", policy)
	w.Write(f.body)
}
