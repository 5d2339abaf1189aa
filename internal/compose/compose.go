// Package compose reads docker-compose files as specifications of agents. What a
// specification can't say is named, service by service and field by field;
// nothing is dropped in silence, and nothing outside the file is read.
package compose

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"

	"github.com/waooaw/platform-portal/internal/adoption"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
)

// Options say how a file is read.
type Options struct {
	Runtime string            // of the agents; docker where empty
	Env     map[string]string // what the file's ${NAME} stand for
	Images  map[string]string // service to image, for services that are built
}

// Plan is what the services of a file become, by name.
type Plan struct {
	Project string
	adoption.Plan
}

// What bounds a file.
const (
	maxServices = 500
	maxPorts    = 1000 // in all ranges together
)

var portRange = regexp.MustCompile(`(\d{1,5})-(\d{1,5})`)

// bounded refuses files of which more would be made than anybody wrote.
func bounded(tree map[string]any) error {
	services, _ := tree["services"].(map[string]any)
	ports := 0
	for _, v := range services {
		fields, _ := v.(map[string]any)
		list, _ := fields["ports"].([]any)
		for _, p := range list {
			ports++
			for _, m := range portRange.FindAllStringSubmatch(fmt.Sprint(p), -1) {
				from, _ := strconv.Atoi(m[1])
				to, _ := strconv.Atoi(m[2])
				ports += max(0, to-from)
			}
		}
	}
	if len(services) > maxServices || ports > maxPorts {
		return fault.New(fault.Invalid, "compose.too_much", "The compose file is too large").
			Because("it has %d services and %d ports", len(services), ports).Do("Import at most %d services and %d ports at once.", maxServices, maxPorts)
	}
	return nil
}

// Read makes specifications of the services. Invalid for a file that is none, or
// that holds no service that can become an agent.
func Read(ctx context.Context, data []byte, o Options) (*Plan, error) {
	model, err := load(ctx, data, o)
	if err != nil {
		return nil, err
	}
	if o.Runtime == "" {
		o.Runtime = "docker"
	}
	p := &Plan{}
	p.Project, _ = model["name"].(string)
	services, _ := model["services"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(services)) {
		fields, _ := services[name].(map[string]any)
		s := &service{name: name, o: o, Draft: &adoption.Draft{
			Plan: &p.Plan, Path: "services." + name, Left: maps.Clone(fields), Doc: map[string]any{"name": name, "runtime": o.Runtime}, Refusals: refusals,
		}}
		if s.convert() {
			p.Docs = append(p.Docs, s.Doc)
			s.Rest("", s.Left)
		}
	}
	p.above(model)
	p.Sort()
	if len(p.Docs) == 0 {
		f := fault.New(fault.Invalid, "compose.empty", "The file has no service that can become an agent")
		for _, n := range p.Notes {
			f = f.At(fault.Field{Path: n.Path, Message: n.Text})
		}
		return nil, f.Do("Name an image for at least one service.")
	}
	return p, nil
}

// load checks the file against the compose specification and gives it with
// variables filled in and short forms written out.
func load(ctx context.Context, data []byte, o Options) (model map[string]any, err error) {
	docs, err := manifest.Parse(data) // bounds what may be read
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fault.New(fault.Invalid, "compose.several", "The input holds %d documents", len(docs)).Because("one compose file is expected")
	}
	if _, ok := docs[0].Tree["services"].(map[string]any); !ok {
		return nil, fault.New(fault.Invalid, "compose.no_services", "The input is no compose file").At(fault.Field{Path: "services", Message: "must be a mapping of services"})
	}
	defer func() {
		// The library is made for files that people wrote in good faith.
		if p := recover(); p != nil {
			model, err = nil, fault.New(fault.Invalid, "compose.invalid", "The compose file can't be read").Because("%v", p)
		}
	}()
	if err := bounded(docs[0].Tree); err != nil {
		return nil, err
	}
	// Aliases are written out here, within bounds.
	content, err := manifest.Encode(docs[0].Tree, "json")
	if err != nil {
		return nil, err
	}
	env := types.Mapping{}
	maps.Copy(env, o.Env)
	details := types.ConfigDetails{WorkingDir: "/nowhere", Environment: env, ConfigFiles: []types.ConfigFile{{Filename: "compose.yaml", Content: content}}}
	model, err = loader.LoadModelWithContext(ctx, details, func(l *loader.Options) {
		// Nothing but the file itself is read.
		l.SkipInclude, l.SkipExtends, l.SkipResolveEnvironment, l.SkipNormalization, l.ResolvePaths = true, true, true, true, false
		l.SkipConsistencyCheck, l.SkipDefaultValues = true, true
		l.SetProjectName("compose", false)
	})
	if err != nil {
		return nil, fault.New(fault.Invalid, "compose.invalid", "The compose file can't be read").
			Because("%s", strings.TrimPrefix(err.Error(), "validating compose.yaml: ")).Do("`docker compose config` shows what it makes of the file.").Wrap(err)
	}
	return model, nil
}

// above notes what stands beside the services.
func (p *Plan) above(model map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(model)) {
		named, _ := model[key].(map[string]any)
		switch key {
		case "services", "name", "version":
		case "volumes":
			for _, name := range slices.Sorted(maps.Keys(named)) {
				if options, _ := named[name].(map[string]any); len(options) > 0 {
					p.Note("volumes."+name, true, "its options are left out: a volume belongs to one agent and to the portal; the content of the old one is not copied")
				}
			}
		case "networks":
			for _, name := range slices.Sorted(maps.Keys(named)) {
				p.Note("networks."+name, true, "there are no networks to choose from: agents share one")
			}
		default:
			p.Note(key, true, "is not supported and left out")
		}
	}
}

// The library says on its own log what is told as a note here.
func init() { logrus.SetOutput(io.Discard) }
