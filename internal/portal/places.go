package portal

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes"
)

// Place is an engine or a cluster beside the one that the settings of its kind name.
type Place struct {
	Name       string // KIND/NAME, as specifications have it
	Docker     Docker
	Kubernetes kubernetes.Config
}

// placesKey is where the file names them.
const placesKey = "places"

// ofPlaces tells whether a key of the file is read by readPlaces.
func ofPlaces(key string) bool { return key == placesKey || strings.HasPrefix(key, placesKey+".") }

// apart are the settings that places do not have from those of their kind: they
// belong to one engine.
var apart = []string{"docker.host", "docker.tls", "docker.ssh", "docker.address"}

// placed is a place and what is set of it.
type placed struct {
	Place
	values []Value
}

// readPlaces reads the places of the file at path, in the order of their names.
// What they leave out is as the settings of their kind say, which main has.
func readPlaces(found any, path string, main []Value) (list []placed, problems []fault.Field) {
	if found == nil {
		return nil, nil
	}
	places, ok := found.(map[string]any)
	if !ok {
		return nil, []fault.Field{{Path: placesKey, Message: "must have names such as kubernetes/NAME with settings below"}}
	}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		at := placesKey + "." + name
		if !strings.Contains(name, "/") || !agent.RuntimeName(name) {
			problems = append(problems, fault.Field{Path: at, Message: "is neither docker/NAME nor kubernetes/NAME, where NAME has at most 30 lower-case letters, digits and hyphens"})
			continue
		}
		own, ok := places[name].(map[string]any)
		if !ok && places[name] != nil {
			problems = append(problems, fault.Field{Path: at, Message: "must have settings below it"})
			continue
		}
		p, wrong := readPlace(name, own, path, main)
		list, problems = append(list, p), append(problems, wrong...)
	}
	return list, problems
}

func readPlace(name string, own map[string]any, path string, main []Value) (p placed, problems []fault.Field) {
	var c Config
	kind, at := agent.RuntimeKind(name), placesKey+"."+name+"."
	known := map[string]bool{}
	for _, base := range main {
		field, ok := strings.CutPrefix(base.Key, kind+".")
		if !ok {
			continue
		}
		known[field] = true
		v := Value{Setting: base.Setting, Value: base.Value, Source: "as " + base.Key}
		v.Key = at + field
		if base.Source == "default" || slices.Contains(apart, base.Key) || field == "context" && own["kubeconfig"] != nil {
			v.Value, v.Source = base.Default, "default"
		}
		if given, ok := own[field]; ok {
			v.Value, v.Source = written(given), "file "+path
			if _, deep := given.(map[string]any); deep {
				problems = append(problems, fault.Field{Path: v.Key, Message: "must be one value"})
				continue
			}
		}
		if v.Value != "" {
			if err := base.set(&c, v.Value); err != nil && v.Source != "as "+base.Key {
				problems = append(problems, fault.Field{Path: v.Key, Message: err.Error() + " (from " + v.Source + ")"})
			}
		}
		p.values = append(p.values, v)
	}
	for _, field := range slices.Sorted(maps.Keys(own)) {
		if !known[field] {
			problems = append(problems, fault.Field{Path: at + field, Message: "there is no such setting; a place of " + kind + " has " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")})
		}
	}
	p.Place = Place{Name: name, Docker: c.Docker, Kubernetes: c.Kubernetes}
	switch {
	case kind == agent.Docker && c.Docker.Host == "":
		problems = append(problems, fault.Field{Path: at + "host", Message: "has to be given"})
	case kind == agent.Kubernetes && c.Kubernetes.Kubeconfig == "":
		problems = append(problems, fault.Field{Path: at + "kubeconfig", Message: "has to be given, here or as kubernetes.kubeconfig"})
	}
	return p, problems
}

// written gives the text of a value of the file; lists become what settings have.
func written(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []any:
		parts := make([]string, len(v))
		for i, one := range v {
			parts[i] = written(one)
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v)
}

// located is a runtime that leads elsewhere.
type located interface {
	hosting
	// Where says to what it leads: the same for two that would meet each other.
	Where() string
}

// opener makes a runtime of the configuration that has an engine of its own.
type opener struct {
	name string
	dir  string // below the data directory, for what is kept of instances
	open func(site) (located, error)
}

// site is what a runtime is given of the portal.
type site struct {
	owner     string // marks what is this portal's
	key       []byte // for what is kept of environments
	dir, self string // for what is kept of instances; the portal's program
	log       *slog.Logger
}

// openers are all of them: those of the settings of each kind, and the places.
func (c Config) openers() (list []opener) {
	add := func(p Place, dir string) {
		if agent.RuntimeKind(p.Name) == agent.Docker {
			list = append(list, opener{p.Name, dir, func(s site) (located, error) {
				cfg := p.Docker.engine()
				cfg.Name, cfg.Owner, cfg.Dir, cfg.Self, cfg.Log = p.Name, s.owner, s.dir, s.self, s.log
				return opened(docker.New(cfg))
			}})
			return
		}
		list = append(list, opener{p.Name, dir, func(s site) (located, error) {
			cfg := p.Kubernetes
			cfg.Name, cfg.Owner, cfg.Key, cfg.Dir, cfg.Self, cfg.Log = p.Name, s.owner, s.key, s.dir, s.self, s.log
			return opened(kubernetes.New(cfg))
		}})
	}
	if c.Docker.Host != "" {
		add(Place{Name: agent.Docker, Docker: c.Docker}, agent.Docker)
	}
	if c.Kubernetes.Kubeconfig != "" {
		add(Place{Name: agent.Kubernetes, Kubernetes: c.Kubernetes}, agent.Kubernetes)
	}
	for _, p := range c.Places {
		add(p, filepath.Join(placesKey, filepath.FromSlash(p.Name)))
	}
	return list
}

// opened makes what is nothing at all of a runtime that could not be made.
func opened[T located](rt T, err error) (located, error) {
	if err != nil {
		return nil, err
	}
	return rt, nil
}

// portalHosts are the names by which instances of the engines reach the portal.
func (c Config) portalHosts() (list []string) {
	add := func(names ...string) {
		for _, n := range names {
			if n != "" && !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	for _, p := range append(c.Places, Place{Name: agent.Docker, Docker: c.Docker, Kubernetes: c.Kubernetes}) {
		if p.Docker.Host != "" {
			add(docker.PortalHost, p.Docker.PortalHost)
		}
		if p.Kubernetes.Kubeconfig != "" {
			add(p.Kubernetes.PortalHost)
		}
	}
	return list
}

// apartFrom refuses an engine that another one leads to as well: what both make
// there would have the same names for whoever looks at it.
func apartFrom(known map[string]string, rt located) error {
	where := rt.Where()
	other, twice := known[where]
	known[where] = cmp.Or(other, rt.Name())
	if !twice {
		return nil
	}
	return fault.New(fault.Invalid, "config.same_place", "%s and %s are the same place", other, rt.Name()).
		Because("both lead to %s", where).Do("Give one of them another engine or namespace, or remove it.")
}
