package diagnosis

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"time"
)

// maxSection bounds one file of a bundle.
const maxSection = 4 << 20

// Section is one file of a support bundle.
type Section struct {
	// Name is its path in the bundle, e.g. "operations.json".
	Name string
	// Content gives what is in it. Texts may hold secrets; they are taken out.
	Content func(ctx context.Context) ([]byte, error)
}

// JSON is the content of a section as indented JSON.
func JSON(get func(ctx context.Context) (any, error)) func(ctx context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		v, err := get(ctx)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		err = enc.Encode(v)
		return out.Bytes(), err
	}
}

// Bundle is what somebody who helps from outside needs to see, in one file and
// without secrets.
type Bundle struct {
	Sections []Section
	// Secrets gives every secret that the portal knows, so that none is in the
	// bundle even where somebody wrote it into a name or a log.
	Secrets func(ctx context.Context) ([]string, error)
	Now     func() time.Time
}

// Write writes the bundle as a gzipped tar. A section that can't be had says so
// in its place; without the secrets to take out nothing is written.
func (b Bundle) Write(ctx context.Context, w io.Writer) error {
	secrets, err := b.Secrets(ctx)
	if err != nil {
		return fmt.Errorf("gather the secrets that must not be in the bundle: %w", err)
	}
	hide := NewRedactor(secrets)
	packed := gzip.NewWriter(w)
	archive := tar.NewWriter(packed)
	for _, s := range b.Sections {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := s.Content(ctx)
		name := s.Name
		if err != nil {
			name, data = name+".missing.txt", []byte("This part could not be gathered: "+err.Error()+"\n")
		}
		if err := add(archive, name, hide.Text(tail(data)), b.Now()); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return packed.Close()
}

// tail gives the end of what is too long, for in logs the end counts. It begins
// with a whole line, so that no half of a secret is left that nobody knows.
func tail(data []byte) string {
	if len(data) <= maxSection {
		return string(data)
	}
	end := data[len(data)-maxSection:]
	if i := bytes.IndexByte(end, '\n'); i >= 0 {
		end = end[i+1:]
	} else {
		end = nil
	}
	return fmt.Sprintf("[%d bytes before this are left out]\n", len(data)-len(end)) + string(end)
}

// add writes one file.
func add(archive *tar.Writer, name, text string, now time.Time) error {
	head := &tar.Header{Name: "support/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: now.Truncate(time.Second), Format: tar.FormatPAX}
	if err := archive.WriteHeader(head); err != nil {
		return err
	}
	_, err := io.WriteString(archive, text)
	return err
}

// forms are the ways in which a value is written: as it is, in JSON, in a URL
// and in base 64.
func forms(v string) []string {
	out := []string{v}
	add := func(f string) {
		for _, known := range out {
			if f == known {
				return
			}
		}
		out = append(out, f)
	}
	if quoted, err := json.Marshal(v); err == nil {
		add(string(quoted[1 : len(quoted)-1]))
	}
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) == nil {
		add(string(bytes.TrimSuffix(plain.Bytes(), []byte("\n"))[1 : plain.Len()-2]))
	}
	add(url.QueryEscape(v))
	add(url.PathEscape(v))
	add(base64.StdEncoding.EncodeToString([]byte(v)))
	add(base64.URLEncoding.EncodeToString([]byte(v)))
	return out
}
