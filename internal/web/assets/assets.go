// Package assets holds the files that pages load: the script, the style sheet,
// fonts and pictures. They are built from src by scripts/assets and embedded, so
// that building the portal needs no other tool.
package assets

import (
	"embed"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed dist
var dist embed.FS

// Prefix is the path under which the files are served.
const Prefix = "/assets/"

// names gives the built name, with a digest in it, of each source name.
var names = load()

func load() map[string]string {
	out := map[string]string{}
	data, err := dist.ReadFile("dist/manifest.json")
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		panic(fmt.Sprintf("assets: the embedded manifest can't be read: %v", err)) // a broken build
	}
	return out
}

// URL gives the address of a file by its source name, e.g. "app.css". The
// address changes with the content. A name that is not there is a mistake in a
// page and panics.
func URL(name string) string {
	built, ok := names[name]
	if !ok {
		panic("assets: no such file: " + name)
	}
	return Prefix + built
}

// Serve writes a file by its built name and tells whether there is one. It is
// sent compressed if the client can read that.
func Serve(w http.ResponseWriter, r *http.Request, name string) bool {
	data, err := dist.ReadFile("dist/" + path.Clean("/" + name)[1:])
	if err != nil || name == "manifest.json" || strings.HasSuffix(name, ".br") || strings.HasSuffix(name, ".gz") {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", kind(name))
	h.Set("Cache-Control", "public, max-age=31536000, immutable") // its name holds its digest
	h.Set("Vary", "Accept-Encoding")
	for _, c := range []struct{ coding, ending string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if packed, err := dist.ReadFile("dist/" + name + c.ending); err == nil && Accepts(r, c.coding) {
			h.Set("Content-Encoding", c.coding)
			data = packed
			break
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data)
	return true
}

func kind(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".woff2":
		return "font/woff2"
	case ".webmanifest":
		return "application/manifest+json"
	}
	return mime.TypeByExtension(path.Ext(name))
}

// Accepts tells whether the client reads the content coding (RFC 9110, 12.5.3).
func Accepts(r *http.Request, coding string) bool {
	for _, line := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(line, ",") {
			name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
			if !strings.EqualFold(strings.TrimSpace(name), coding) {
				continue
			}
			weight, ok := strings.CutPrefix(strings.TrimSpace(q), "q=")
			if !ok {
				return true
			}
			v, err := strconv.ParseFloat(weight, 64)
			return err == nil && v > 0
		}
	}
	return false
}
