package portal

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/oidc"
)

func TestProviderOfTheConfiguration(t *testing.T) {
	secrets := t.TempDir()
	if err := os.WriteFile(filepath.Join(secrets, "google"), []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(flags map[string]string) Config {
		t.Helper()
		flags["secrets-dir"] = secrets
		c, _, err := Load(flags, noEnv)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if p, err := provider(t.Context(), load(map[string]string{}), nil); p != nil || err != nil {
		t.Errorf("without a client: %v, %v", p, err)
	}
	// For Google the client's id and secret are enough.
	p, err := provider(t.Context(), load(map[string]string{"oidc-client-id": "x", "oidc-client-secret": "file:google"}), nil)
	if err != nil || p.Label() != "Google" || p.Name() != "google" {
		t.Errorf("Google: %v, %v", p, err)
	}
	p, err = provider(t.Context(), load(map[string]string{"oidc-client-id": "x", "oidc-client-secret": "y", "oidc-issuer": "https://login.example.com/a", "oidc-name": "Staff"}), nil)
	if err != nil || p.Label() != "Staff" || !strings.HasPrefix(p.Name(), "login.example.com-") {
		t.Errorf("another: %v, %v", p, err)
	}
	for field, flags := range map[string]map[string]string{
		"oidc.client-secret": {"oidc-client-id": "x", "oidc-client-secret": "file:missing"},
		"oidc.issuer":        {"oidc-client-id": "x", "oidc-issuer": "http://login.example.com"},
	} {
		_, err := provider(t.Context(), load(flags), nil)
		if f := fault.As(err); f == nil || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Path != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestClaimsThatRulesLookAt(t *testing.T) {
	c, _, err := Load(map[string]string{"roles-admins": "claim:groups=a, ann@example.com, claim:dept=b", "roles-viewers": "claim:groups=c"}, noEnv)
	if got := claimsOf(c); err != nil || !slices.Equal(got, []string{"groups", "dept"}) {
		t.Errorf("%v %v", got, err)
	}
	if c.OIDC.Issuer != oidc.Google || !slices.Equal(c.OIDC.Scopes, []string{"email", "profile"}) {
		t.Errorf("defaults: %+v", c.OIDC)
	}
}

func TestAddressesOfThePortal(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Listen: "127.0.0.1:8080", PublicURL: "http://127.0.0.1:8080"}, "http://127.0.0.1:8080 http://localhost:8080"},
		{Config{Listen: "127.0.0.1:8080", PublicURL: "https://portal.example.com", Hosts: []string{"p.example.org", "q.example.org:8443"}},
			"https://portal.example.com https://p.example.org https://q.example.org:8443 http://localhost:8080"},
		{Config{Listen: "0.0.0.0:80", PublicURL: "http://box:8080", Hosts: []string{"other"}}, "http://box:8080 http://other:8080"},
	} {
		if got := strings.Join(origins(c.cfg), " "); got != c.want {
			t.Errorf("%+v is reached at %s, want %s", c.cfg, got, c.want)
		}
	}
}
