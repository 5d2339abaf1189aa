// Package bundle makes the files that pages load from their sources.
package bundle

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/evanw/esbuild/pkg/api"
)

// Build gives the content of every file of dist by its name: the bundles of
// src/main.ts and src/app.css, what lies in static, the compressed forms, and the
// manifest that leads from source names to built ones.
func Build(dir string) (map[string][]byte, error) {
	out, manifest := map[string][]byte{}, map[string]string{}
	if err := static(dir, out, manifest); err != nil {
		return nil, err
	}
	for source, name := range map[string]string{"main.ts": "app.js", "app.css": "app.css"} {
		code, err := compile(dir, source, manifest)
		if err != nil {
			return nil, err
		}
		add(out, manifest, name, code)
	}
	list, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return nil, err
	}
	out["manifest.json"] = append(list, '\n')
	return out, nil
}

// static takes the files of static as they are.
func static(dir string, out map[string][]byte, manifest map[string]string) error {
	root := filepath.Join(dir, "static")
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || d.Name() == "SHA256SUMS" || strings.HasSuffix(d.Name(), ".md") || strings.HasPrefix(d.Name(), "LICENSE") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		add(out, manifest, d.Name(), data)
		return nil
	})
}

// compile bundles one entry. Addresses of static files in style sheets become
// those of the built ones.
func compile(dir, source string, manifest map[string]string) ([]byte, error) {
	result := api.Build(api.BuildOptions{
		EntryPoints: []string{filepath.Join(dir, "src", source)}, Bundle: true, Write: false, Outdir: "out",
		MinifySyntax: true, MinifyWhitespace: true, MinifyIdentifiers: true, Target: api.ES2022,
		Format: api.FormatIIFE, Charset: api.CharsetUTF8, LegalComments: api.LegalCommentsNone,
		External: []string{"/assets/*"}, Loader: map[string]api.Loader{".svg": api.LoaderDataURL}, LogLevel: api.LogLevelSilent, AbsWorkingDir: workingDir(),
	})
	if len(result.Errors) > 0 {
		text := api.FormatMessages(result.Errors, api.FormatMessagesOptions{})
		return nil, errors.New(strings.Join(text, "\n"))
	}
	if len(result.OutputFiles) != 1 {
		return nil, fmt.Errorf("%s gives %d files instead of one", source, len(result.OutputFiles))
	}
	code := result.OutputFiles[0].Contents
	for name, built := range manifest {
		code = bytes.ReplaceAll(code, []byte("/assets/"+name), []byte("/assets/"+built))
	}
	return code, nil
}

func workingDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return "/"
	}
	return dir
}

// add names the file after its digest, and compresses what compresses.
func add(out map[string][]byte, manifest map[string]string, name string, data []byte) {
	sum := sha256.Sum256(data)
	ext := filepath.Ext(name)
	built := strings.TrimSuffix(name, ext) + "-" + hex.EncodeToString(sum[:])[:10] + ext
	manifest[name], out[built] = built, data
	if ext == ".woff2" || ext == ".png" {
		return
	}
	var br, gz bytes.Buffer
	b := brotli.NewWriterLevel(&br, brotli.BestCompression)
	_, _ = b.Write(data) // a buffer takes everything
	_ = b.Close()
	g, _ := gzip.NewWriterLevel(&gz, gzip.BestCompression)
	_, _ = g.Write(data)
	_ = g.Close()
	out[built+".br"], out[built+".gz"] = br.Bytes(), gz.Bytes()
}

// Write replaces dist by the files.
func Write(dir string, files map[string][]byte) error {
	dist := filepath.Join(dir, "dist")
	if err := os.RemoveAll(dist); err != nil {
		return err
	}
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dist, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
