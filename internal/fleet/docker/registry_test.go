package docker_test

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
)

const password = "correct horse"

// store is a registry that asks who pulls. It can be made to damage what it gives.
type store struct {
	*testing.T
	engine *dockertest.Engine
	server *httptest.Server
	domain string
	open   atomic.Bool            // to everybody
	damage atomic.Pointer[string] // what the path of damaged answers has
	pulls  atomic.Int64           // answers with layers
}

func newStore(t *testing.T) *store {
	s := &store{T: t, engine: dockertest.Start(t)}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, given, _ := r.BasicAuth()
		if !s.open.Load() && (user != "robot" || subtle.ConstantTimeCompare([]byte(given), []byte(password)) != 1) {
			w.Header().Set("WWW-Authenticate", `Basic realm="store"`)
			http.Error(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.pulls.Add(1)
		}
		part := s.damage.Load()
		if part == nil || r.Method != http.MethodGet || !strings.Contains(r.URL.Path, *part) {
			inner.ServeHTTP(w, r)
			return
		}
		kept := httptest.NewRecorder()
		inner.ServeHTTP(kept, r)
		for name, values := range kept.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(kept.Code)
		b := kept.Body.Bytes()
		if i := bytes.LastIndex(b, []byte("sha256:")); *part == "/manifests/" && i >= 0 {
			copy(b[i:], "sha256:0123456789")
		} else if len(b) > 0 {
			b[len(b)/2] ^= 0xff
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.server.Close)
	s.domain = s.server.Listener.Addr().String()
	return s
}

// push puts an image of its own into the registry, and gives its name and its name
// by digest. The engine has it no more.
func (s *store) push(name string) (tagged, pinned string) {
	s.Helper()
	tagged = s.domain + "/team/" + name
	s.engine.Make(s.T, tagged)
	s.open.Store(true)
	s.engine.Docker(s.T, "push", tagged)
	s.open.Store(false)
	pinned = s.engine.Docker(s.T, "inspect", "--format", "{{index .RepoDigests 0}}", tagged)
	s.engine.Docker(s.T, "rmi", tagged)
	if out, err := s.engine.Try("image", "inspect", pinned); err == nil {
		s.Fatalf("the engine has it still: %s", out)
	}
	return tagged, pinned
}

// config is that of a portal with credentials.
func (s *store) config(password string) docker.Config {
	s.Helper()
	cfg := config(s.T)
	file := filepath.Join(s.TempDir(), "config.json")
	packed := base64.StdEncoding.EncodeToString([]byte("robot:" + password))
	if err := os.WriteFile(file, []byte(`{"auths": {"`+s.domain+`": {"auth": "`+packed+`"}}}`), 0o600); err != nil {
		s.Fatal(err)
	}
	cfg.Credentials = docker.FileCredentials(file)
	return cfg
}

// refuses gives the fault with which an image can't be had.
func (s *store) refuses(rt *docker.Runtime, image string, kind fault.Kind, code, remedy string) {
	s.Helper()
	l := instance("pulled", agent.RestartPolicy{}, "wait")
	l.Image = image
	f := fault.As(rt.Prepare(s.Context(), l))
	if f == nil || f.Kind != kind || f.Code != code || f.Why == "" || !strings.Contains(f.Remedy, remedy) {
		s.Errorf("%s: %v, want %s with %q", image, f, code, remedy)
	}
	if f != nil && (strings.Contains(f.Error(), password) || strings.Contains(f.Error(), "wrong-secret")) {
		s.Errorf("it tells the password: %v", f)
	}
}

func TestImagesComeFromARegistryThatAsksWhoPulls(t *testing.T) {
	s := newStore(t)
	tagged, pinned := s.push("program:1")
	cfg := s.config(password)
	cfg.Policy.PinnedOnly = true
	rt := open(t, cfg)
	t.Cleanup(func() { _, _ = s.engine.Try("rmi", pinned) })
	s.refuses(rt, tagged, fault.Invalid, "image.not_pinned", "@sha256:")
	l := instance("pulled", agent.RestartPolicy{}, "ticks")
	l.Image = pinned
	before := s.pulls.Load()
	if err := rt.Launch(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	until(t, rt, "pulled", func(in fleet.Instance) bool { return in.State == fleet.InstanceRunning })
	if s.pulls.Load() == before {
		t.Error("nothing was pulled")
	}
}

func TestWhyAnImageCannotBePulled(t *testing.T) {
	s := newStore(t)
	tagged, pinned := s.push("other:1")
	rt := open(t, s.config(password))
	s.refuses(rt, s.domain+"/team/other:2", fault.Invalid, "image.pull", "the tag")
	s.refuses(rt, s.domain+"/team/nothing:1", fault.Invalid, "image.pull", "Correct the name")
	s.refuses(rt, s.domain+"/team/other@sha256:"+strings.Repeat("0", 64), fault.Invalid, "image.pull", "the digest")
	s.refuses(open(t, s.config("wrong-secret")), tagged, fault.Invalid, "image.pull", "docker.config")
	s.refuses(open(t, config(t)), tagged, fault.Invalid, "image.pull", "docker.config")
	for _, part := range []string{"/manifests/", "/blobs/"} {
		s.damage.Store(&part)
		s.refuses(rt, pinned, fault.Unavailable, "image.corrupt", "Push the image again")
	}
	s.damage.Store(nil)
	s.server.Close()
	s.refuses(rt, tagged, fault.Unavailable, "image.pull", "See whether the engine reaches "+s.domain)
	if _, err := s.engine.Try("image", "inspect", pinned); err == nil {
		t.Error("a damaged image is kept")
	}
}

func TestBaseImagesComeFromARegistryThatAsksWhoPulls(t *testing.T) {
	s := newStore(t)
	tagged, pinned := s.push("base:1")
	cfg := s.config(password)
	cfg.BuildRoot = t.TempDir()
	put(t, cfg.BuildRoot, "derived/Dockerfile", "FROM "+tagged+"\nLABEL derived=yes\n")
	put(t, cfg.BuildRoot, "derived/secret", "hush")
	for name, credentials := range map[string]docker.Credentials{"none": nil, "a wrong one": s.config("wrong-secret").Credentials} {
		other := cfg
		other.Credentials, other.Dir = credentials, t.TempDir()
		rt := open(t, other)
		f := fault.As(rt.Prepare(t.Context(), toBuild("deriver", "derived", 1)))
		if f == nil || f.Kind != fault.Invalid || f.Code != "image.build" || !strings.Contains(f.Remedy, "docker.config") {
			t.Errorf("with the password %s: %v", name, f)
		}
		told := fmt.Sprint(f, prints(t, rt, "deriver"))
		if strings.Contains(told, password) || strings.Contains(told, "wrong-secret") {
			t.Errorf("it tells the password: %s", told)
		}
	}
	rt := open(t, cfg)
	t.Cleanup(func() { _, _ = s.engine.Try("rmi", "--force", tagged, pinned) })
	before := s.pulls.Load()
	if err := rt.Prepare(t.Context(), toBuild("deriver", "derived", 1)); err != nil {
		t.Fatal(err)
	}
	if s.pulls.Load() == before {
		t.Error("nothing was pulled")
	}
	if got := s.engine.Docker(t, "images", "-q", "--filter", "label=derived=yes"); got == "" {
		t.Error("nothing was built")
	}
}
