package compose

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/waooaw/platform-portal/internal/adoption"
)

// service is one service on its way to a specification.
type service struct {
	*adoption.Draft
	name string
	o    Options
}

// convert fills the document; false if the service can't become an agent.
func (s *service) convert() bool {
	image, _ := s.Take("image").(string)
	if named := s.o.Images[s.name]; named != "" {
		image = named
	}
	if build := s.Take("build"); build != nil {
		if image == "" {
			s.Note("build", true, "is not built by an import: build it, and name the image in the file or for the import. The service is left out")
			return false
		}
		s.Note("build", true, "is not built by an import; %s has to be there already", image)
	}
	if image == "" {
		s.Note("image", true, "is missing; the service is left out")
		return false
	}
	s.Doc["image"] = image
	s.commands()
	s.environment()
	s.ports()
	s.volumes()
	s.dependencies()
	s.health()
	s.restart()
	s.resources()
	s.others()
	return true
}

// words reads a command line, a text or a list.
func words(v any) []string {
	var c types.ShellCommand
	if v == nil || c.DecodeMapstructure(v) != nil {
		return nil
	}
	return c
}

func (s *service) commands() {
	entry, args := words(s.Take("entrypoint")), words(s.Take("command"))
	if len(entry) > 0 {
		s.Doc["command"] = entry[0]
		args = append(slices.Clone(entry[1:]), args...)
	}
	if len(args) > 0 {
		s.Doc["args"] = adoption.Anys(args)
	}
}

// texts reads a mapping of texts, also one written as a list of NAME=VALUE. A
// value that is left out is nil.
func texts(v any) map[string]*string {
	out := map[string]*string{}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil {
				out[k] = nil
				continue
			}
			text := fmt.Sprint(e)
			out[k] = &text
		}
	case []any:
		for _, e := range v {
			k, text, ok := strings.Cut(fmt.Sprint(e), "=")
			if out[k] = nil; ok {
				out[k] = &text
			}
		}
	}
	return out
}

func (s *service) environment() {
	vars := texts(s.Take("environment"))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		value := vars[name]
		if value == nil {
			v, ok := s.o.Env[name]
			if !ok {
				s.Note("environment."+name, true, "has no value here; it came from whoever ran compose")
				continue
			}
			value = &v
		}
		s.Variable("environment."+name, name, *value)
	}
}

func (s *service) ports() {
	list, _ := s.Take("ports").([]any)
	var out []any
	for i, e := range list {
		p, _ := e.(map[string]any)
		field := fmt.Sprintf("ports[%d]", i)
		target, published := fmt.Sprint(p["target"]), fmt.Sprint(p["published"])
		n, err := strconv.Atoi(target)
		switch protocol := fmt.Sprint(p["protocol"]); {
		case err != nil:
			s.Note(field, true, "is no port: %s", target)
			continue
		case p["protocol"] != nil && protocol != "tcp":
			s.Note(field, true, "%s/%s can't be published; only TCP can", target, protocol)
			continue
		case p["published"] == nil || published == "":
			s.Note(field, true, "is published on a port that the engine picks; let the program listen on $(PORT), which every instance gets")
			continue
		case published != target:
			s.Note(field, true, "%s can't become %s outside: a port has the same number on both sides. Let the program listen on %s, or on $(PORT)", target, published, published)
			continue
		}
		if host, _ := p["host_ip"].(string); host == "" || host != "127.0.0.1" {
			s.Note(field, true, "is published on 127.0.0.1 of the engine's machine alone")
		}
		out = append(out, map[string]any{"name": "port-" + target, "port": n})
	}
	if len(out) > 0 {
		s.Doc["ports"] = out
	}
}

func (s *service) volumes() {
	list, _ := s.Take("volumes").([]any)
	var out []any
	for i, e := range list {
		v, _ := e.(map[string]any)
		field := fmt.Sprintf("volumes[%d]", i)
		source, _ := v["source"].(string)
		target, _ := v["target"].(string)
		switch kind := fmt.Sprint(v["type"]); {
		case kind == "tmpfs" && target == "/tmp":
			continue // is there anyway
		case kind != "volume":
			s.Note(field, true, "a %s at %s is not given to agents: paths of the host are never", kind, target)
			continue
		case source == "":
			source = "volume-" + strconv.Itoa(i)
		}
		where := strings.Trim(target, "/")
		if where == "" {
			s.Note(field, true, "needs a path of its own")
			continue
		}
		vol := map[string]any{"name": source, "path": where}
		if v["read_only"] == true {
			vol["read_only"] = true
		}
		out = append(out, vol)
		s.Note(field, false, "begins empty, and is found at %s below the image's working directory: at %s only if that is /", where, target)
	}
	if len(out) > 0 {
		s.Doc["volumes"] = out
	}
}

func (s *service) dependencies() {
	var names []string
	switch v := s.Take("depends_on").(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			names = append(names, name)
			if d, _ := v[name].(map[string]any); d["condition"] == "service_completed_successfully" {
				s.Note("depends_on."+name, true, "waiting until it has ended is not supported; agents run on")
			}
		}
	case []any:
		for _, name := range v {
			names = append(names, fmt.Sprint(name))
		}
	}
	if len(names) > 0 {
		s.Doc["dependencies"] = adoption.Anys(names)
	}
}

func (s *service) restart() {
	policy, _ := s.Take("restart").(string)
	name, most, _ := strings.Cut(policy, ":")
	r := map[string]any{}
	switch name {
	case "", "no": // compose does not restart where nothing is said
		r["policy"] = "never"
	case "always", "unless-stopped":
		r["policy"] = "always"
	case "on-failure":
		r["policy"] = "on-failure"
		if n, err := strconv.Atoi(most); err == nil && n > 0 {
			r["max_restarts"] = n
		}
	default:
		s.Note("restart", true, "there is no policy %q", name)
	}
	if len(r) > 0 {
		s.Doc["restart"] = r
	}
}

// refusals say why a field is left out, where there is more to say.
var refusals = map[string]string{
	"privileged":     "is refused: instances get nothing of the host",
	"cap_add":        "is refused: instances have no capabilities",
	"devices":        "is refused: instances get nothing of the host",
	"network_mode":   "is refused: instances share one network of the portal's",
	"pid":            "is refused: instances have a namespace of their own",
	"ipc":            "is refused: instances have a namespace of their own",
	"userns_mode":    "is refused: instances get nothing of the host",
	"cgroup_parent":  "is refused: instances get nothing of the host",
	"user":           "is left out: instances run as the image's user, or as 65532",
	"networks":       "is left out: instances share one network of the portal's",
	"container_name": "is left out: containers are named after the agent, its revision and a number",
	"env_file":       "is not read: nothing but the file itself is. Put the variables into environment",
	"extends":        "is not read: nothing but the file itself is. `docker compose config` writes it out",
	"secrets":        "is left out: name files of the portal's secrets directory in secrets of the agent",
	"profiles":       "is left out: the service is imported whatever profile is active",
	"logging":        "is left out: the portal keeps the output",
	"hostname":       "is left out: agents find each other by queues, and the portal's name is PORTAL_URL",
}
