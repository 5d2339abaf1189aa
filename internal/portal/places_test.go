package portal

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
)

// configured reads a configuration file of the text.
func configured(t testing.TB, text string, flags map[string]string) (Config, []Value, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "portal.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"config": path, "data": t.TempDir()}
	for k, v := range flags {
		all[k] = v
	}
	return Load(all, noEnv)
}

const severalPlaces = `
docker: {host: "unix:///run/docker.sock", allow: "root, writable", portal-host: portal.lan, address: 192.0.2.1}
kubernetes: {kubeconfig: /etc/portal/kubeconfig, context: main, namespace: agents, image: registry.example/portal@sha256:aa, ingress: 10.0.0.0/8, pull-secret: registry}
places:
  kubernetes/tests: {namespace: agents-tests, ingress: [10.1.0.0/16, 10.2.0.0/16]}
  kubernetes/eu: {kubeconfig: /etc/portal/eu, pull-secret: ""}
  docker/gpu: {host: "ssh://ops@192.0.2.7", allow: ""}
`

func TestPlacesHaveTheSettingsOfTheirKindWhereTheyNameNone(t *testing.T) {
	c, values, err := configured(t, severalPlaces, map[string]string{"kubernetes-storage-class": "fast"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Places) != 3 || c.Places[0].Name != "docker/gpu" || c.Places[1].Name != "kubernetes/eu" || c.Places[2].Name != "kubernetes/tests" {
		t.Fatalf("places %+v", c.Places)
	}
	gpu, eu, tests := c.Places[0].Docker, c.Places[1].Kubernetes, c.Places[2].Kubernetes
	if gpu.Host != "ssh://ops@192.0.2.7" || gpu.Policy != (docker.Policy{}) || gpu.PortalHost != "portal.lan" || gpu.Address.IsValid() {
		t.Errorf("another machine, with nothing allowed: %+v", gpu)
	}
	if eu.Kubeconfig != "/etc/portal/eu" || eu.Context != "" || eu.Namespace != "agents" || eu.PullSecret != "" || eu.Image != c.Kubernetes.Image || eu.StorageClass != "fast" {
		t.Errorf("another cluster, whose context is its own: %+v", eu)
	}
	if tests.Kubeconfig != "/etc/portal/kubeconfig" || tests.Context != "main" || tests.Namespace != "agents-tests" || !slices.Equal(tests.Ingress, []string{"10.1.0.0/16", "10.2.0.0/16"}) {
		t.Errorf("another namespace: %+v", tests)
	}
	if !slices.Equal(c.Kubernetes.Ingress, []string{"10.0.0.0/8"}) || c.Kubernetes.Namespace != "agents" {
		t.Errorf("the settings of the kind itself are now %+v", c.Kubernetes)
	}
	rows := map[string]Value{}
	for _, v := range values {
		rows[v.Key] = v
	}
	for key, want := range map[string][2]string{
		"places.kubernetes/tests.namespace": {"agents-tests", "file "}, "places.kubernetes/tests.image": {"registry.example/portal@sha256:aa", "as kubernetes.image"},
		"places.kubernetes/eu.storage-class": {"fast", "as kubernetes.storage-class"}, "places.kubernetes/eu.context": {"", "default"}, "places.docker/gpu.allow": {"", "file "},
	} {
		if v := rows[key]; v.Value != want[0] || !strings.HasPrefix(v.Source, want[1]) || v.Doc == "" {
			t.Errorf("%s is shown as %q from %q", key, v.Value, v.Source)
		}
	}
	if hosts := c.portalHosts(); !slices.Contains(hosts, docker.PortalHost) || !slices.Contains(hosts, "portal.lan") {
		t.Errorf("requests may come under %v", hosts)
	}
}

func TestMistakesInPlacesAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"places: [kubernetes/eu]":                                         "places: must have names such as kubernetes/NAME",
		"places: {kubernetes/eu: yes}":                                    "places.kubernetes/eu: must have settings below it",
		"places: {eu: {namespace: a}}":                                    "places.eu: is neither docker/NAME nor kubernetes/NAME",
		"places: {kubernetes/EU: {kubeconfig: a}}":                        "places.kubernetes/EU: is neither",
		"places: {process/a: {}}":                                         "places.process/a: is neither",
		"places: {kubernetes/: {kubeconfig: a}}":                          "places.kubernetes/: is neither",
		"places: {kubernetes/a/b: {kubeconfig: a}}":                       "places.kubernetes/a/b: is neither",
		"places: {kubernetes/a.b: {kubeconfig: a}}":                       "places.kubernetes/a.b: is neither",
		"places: {kubernetes/" + strings.Repeat("a", 31) + ": {}}":        "is neither",
		"places: {kubernetes/eu: {kubeconfig: a, name-space: b}}":         "places.kubernetes/eu.name-space: there is no such setting; a place of kubernetes has context, egress",
		"places: {kubernetes/eu: {kubeconfig: a, host: b}}":               "places.kubernetes/eu.host: there is no such setting",
		"places: {kubernetes/eu: {kubeconfig: a, ingress: home}}":         `places.kubernetes/eu.ingress: "home" is not a network`,
		"places: {kubernetes/eu: {}}":                                     "places.kubernetes/eu.kubeconfig: has to be given",
		"places: {docker/two: }":                                          "places.docker/two.host: has to be given",
		"docker: {host: 'unix:///a', tls: /b}\nplaces: {docker/two: {}}":  "places.docker/two.host: has to be given",
		"places: {docker/two: {host: 'unix:///a', allow: privileged}}":    "places.docker/two.allow: ",
		"places: {kubernetes/eu: {kubeconfig: a, image: {name: portal}}}": "places.kubernetes/eu.image: must be one value",
	} {
		_, _, err := configured(t, text, nil)
		f := fault.As(err)
		got := ""
		if f != nil {
			for _, x := range f.Fields {
				got += x.Path + ": " + x.Message + "\n"
			}
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s:\n%s%v\nwant %s", text, got, err, want)
		}
	}
}

func TestNoTwoPlacesLeadToTheSameEngine(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n" +
		"contexts: [{name: a, context: {cluster: c, user: u, namespace: one}}, {name: b, context: {cluster: c, user: u, namespace: two}}]\nusers: [{name: u}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, refused := range map[string]string{
		"kubernetes: {kubeconfig: K}\nplaces: {kubernetes/b: {context: b}}":                                  "",
		"kubernetes: {kubeconfig: K}\nplaces: {kubernetes/b: {namespace: three}, kubernetes/c: {}}":          "kubernetes and kubernetes/c",
		"places: {kubernetes/b: {kubeconfig: K, context: b}, kubernetes/c: {kubeconfig: K, namespace: two}}": "kubernetes/b and kubernetes/c",
		"docker: {host: 'unix:///nowhere'}\nplaces: {docker/two: {host: 'unix:///elsewhere'}}":               "",
		"docker: {host: 'tcp://127.0.0.1:1'}\nplaces: {docker/two: {host: 'tcp://127.0.0.1:1/'}}":            "docker and docker/two",
	} {
		cfg, _, err := configured(t, strings.ReplaceAll(file, "K", kubeconfig), nil)
		if err != nil {
			t.Fatal(file, err)
		}
		a := &app{cfg: cfg, log: slog.New(slog.DiscardHandler), build: Build{Self: os.Args[0]}}
		err = a.openRuntimes([]byte("key"))
		if err == nil {
			err = a.runtimes.close()
		}
		switch f := fault.As(err); {
		case refused == "" && err != nil:
			t.Errorf("%s is refused: %v", file, err)
		case refused != "" && (f == nil || f.Code != "config.same_place" || !strings.HasPrefix(f.What, refused+" are the same place")):
			t.Errorf("%s gives %v", file, err)
		}
	}
}

func TestWhatAPlaceMakesIsMarkedAsItsOwn(t *testing.T) {
	key := []byte("key")
	if ownerOf(key, "kubernetes") != ownerOf(key, "docker") {
		t.Error("what portals without places made is not found any more")
	}
	seen := map[string]string{}
	for _, name := range []string{"kubernetes", "kubernetes/eu", "kubernetes/us", "docker/eu"} {
		if other, twice := seen[ownerOf(key, name)]; twice {
			t.Errorf("%s and %s have the same mark", other, name)
		}
		seen[ownerOf(key, name)] = name
	}
}

// Whatever a file says of places is taken or refused with a reason.
func FuzzPlaces(f *testing.F) {
	f.Add(severalPlaces)
	f.Add("places: {kubernetes/eu: {kubeconfig: a, ingress: [1, {a: b}]}, docker/x: [1]}")
	f.Add("places: {? [a] : b}\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := configured(t, text, nil)
		if err != nil {
			if f := fault.As(err); f == nil || f.Kind != fault.Invalid || f.Error() == "" {
				t.Errorf("%q gives %v", text, err)
			}
			return
		}
		for _, p := range c.Places {
			if fmt.Sprint(p.Docker.Host, p.Kubernetes.Kubeconfig) == "" {
				t.Errorf("%q gives the place %s, which leads nowhere", text, p.Name)
			}
		}
	})
}
