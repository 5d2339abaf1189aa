package diagnosis_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/diagnosis"
)

// unpack gives the files of a bundle.
func unpack(t *testing.T, data []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	must(t, err)
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		if h.Mode != 0o600 {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
		files[h.Name] = string(text)
	}
}

func text(s string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(s), nil }
}

// TestABundleHasNoSecrets plants secrets in every way in which they are written.
func TestABundleHasNoSecrets(t *testing.T) {
	const known, multi = `pass"word\é<1>`, "-first-line-of-a-key\nsecond-line-of-a-key-"
	b := diagnosis.Bundle{
		Now: time.Now, Secrets: func(context.Context) ([]string, error) { return []string{known, multi, "", "abc"}, nil },
		Sections: []diagnosis.Section{
			{Name: "plain.txt", Content: text("abc " + known + " " + base64.StdEncoding.EncodeToString([]byte(known)))},
			{Name: "data.json", Content: diagnosis.JSON(func(context.Context) (any, error) {
				return map[string]any{"note": known, "nested": `{"x":"y"}`, "url": "https://me:unknown1@host/path", "api_key": "unknown2"}, nil
			})},
			{Name: "key.txt", Content: text("log: -first-line-of-a-key\nlog: second-line-of-a-key-\n")},
			{Name: "gone.json", Content: func(context.Context) ([]byte, error) { return nil, errors.New("no database: password=unknown3") }},
			{Name: "long.txt", Content: text(strings.Repeat("a line of it\n", 1<<20) + "the end")},
		},
	}
	var out bytes.Buffer
	must(t, b.Write(t.Context(), &out))
	files := unpack(t, out.Bytes())
	all := ""
	for _, f := range files {
		all += f
	}
	for _, secret := range []string{known, `pass\"word`, "cGFzcyJ3b3Jk", "first-line", "second-line", "unknown1", "unknown2", "unknown3"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in the bundle", secret)
		}
	}
	for name, want := range map[string]string{
		"support/plain.txt": "abc " + diagnosis.Hidden, "support/data.json": "@host/path", "support/gone.json.missing.txt": "no database",
		"support/long.txt": "the end",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s: %.300s", name, files[name])
		}
	}
	if n := len(files["support/long.txt"]); n > 5<<20 {
		t.Errorf("a section of %d bytes", n)
	}
	b.Secrets = func(context.Context) ([]string, error) { return nil, errors.New("locked") }
	out.Reset()
	if err := b.Write(t.Context(), &out); err == nil || out.Len() > 0 {
		t.Errorf("wrote %d bytes without knowing the secrets, %v", out.Len(), err)
	}
}

// TestRedact holds texts to what is left of them.
func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"nothing to hide: 10:30, a=b":                        "",
		"GET http://127.0.0.1:8080/path?x=1 200":             "",
		"postgres://u:p@db:5432/x":                           "postgres://[hidden]@db:5432/x",
		"nats://s3cr3t@host":                                 "nats://[hidden]@host",
		"Authorization: Bearer abcdefgh.ijkl":                "Authorization: Bearer [hidden]",
		`{"client_secret": "x y", "name": "z"}`:              `{"client_secret": "[hidden]", "name": "z"}`,
		`"{\"password\":\"abc\"}"`:                           `"{\"password\":\"[hidden]\"}"`,
		"--oidc-client-secret=abc --data x":                  "--oidc-client-secret=[hidden] --data x",
		"https://x/?access_token=abc&y=1":                    "https://x/?access_token=[hidden]&y=1",
		"ptl_0123456789abcdefghijABCDEFGHIJ done":            "[hidden] done",
		"eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2ln":                 "[hidden]",
		"-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE":   "-----BEGIN PRIVATE KEY-----[hidden]-----END PRIVATE",
		"agent_tokens_total 5, tokens: 12, the token is bad": "",
	} {
		if want == "" {
			want = in
		}
		if got := diagnosis.Redact(in); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

// FuzzRedactor hides a secret whatever stands around it.
func FuzzRedactor(f *testing.F) {
	f.Add("secret-value", "before ", " after")
	f.Add("a\"b\\c\nd<e>&é", "{\"x\":\"", "\"}")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		if len(strings.TrimSpace(secret)) < 6 || strings.Contains(diagnosis.Hidden, strings.TrimSpace(secret)) {
			t.Skip()
		}
		hide := diagnosis.NewRedactor([]string{secret})
		got := hide.Text(before + secret + after)
		if !strings.Contains(before+after, strings.TrimSpace(secret)) && strings.Contains(got, strings.TrimSpace(secret)) && !strings.Contains(before+diagnosis.Hidden+after, strings.TrimSpace(secret)) {
			t.Errorf("%q still holds %q", got, secret)
		}
	})
}
