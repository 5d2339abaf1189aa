package docker_test

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
)

func TestCredentialsOfRegistries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	packed := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	find := func(ctx context.Context, domain string) (user, password string, err error) {
		logins, err := docker.FileCredentials(file)(ctx)
		if err != nil {
			return "", "", err
		}
		return logins.Of(domain)
	}
	if _, _, err := find(t.Context(), "ghcr.io"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a file that is not there: %v", err)
	}
	write(`{"auths": {"ghcr.io": {"auth": "` + packed("robot:pass:word") + `"}, "https://index.docker.io/v1/": {"auth": "` + packed("hub:secret") + `"},
		"broken.example": {"auth": "` + packed("nothing") + `"}}, "credsStore": "desktop"}`)
	for domain, want := range map[string][2]string{"ghcr.io": {"robot", "pass:word"}, "docker.io": {"hub", "secret"}, "quay.io": {"", ""}} {
		user, password, err := find(t.Context(), domain)
		if err != nil || user != want[0] || password != want[1] {
			t.Errorf("%s: %q %q %v", domain, user, password, err)
		}
	}
	if _, _, err := find(t.Context(), "broken.example"); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), packed("nothing")) {
		t.Errorf("an entry without a password: %v", err)
	}
	write(`{"auths": [`)
	if _, _, err := find(t.Context(), "ghcr.io"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a file that is no JSON: %v", err)
	}
}
