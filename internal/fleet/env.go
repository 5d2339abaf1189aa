package fleet

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// DataDirer is a Runtime that knows where, as its instances see it, the agent's
// data directory is: the one that outlives instances.
type DataDirer interface {
	DataDir(agentID string) string
}

// outfit is what all instances of a revision have in common.
type outfit struct {
	a        *agent.Agent
	spec     agent.Spec
	revision int
	vars     map[string]string // contract variables and secrets
	command  []string          // of the built-in program; nil for any other
	base     int               // at which the places of its ports begin
}

// outfit resolves the secrets and the credential. Faults: NotFound and Invalid
// for secrets, with every one that is wrong.
func (s *Service) outfit(ctx context.Context, a *agent.Agent, spec agent.Spec, revision int) (*outfit, error) {
	vars := map[string]string{"LANG": "C.UTF-8", "LOG_LEVEL": "info"}
	if err := s.resolve(ctx, spec, vars); err != nil {
		return nil, err
	}
	token, err := s.Keys.Secret(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	maps.Copy(vars, map[string]string{
		"AGENT_ID": a.ID, "AGENT_NAME": spec.Name, "AGENT_VERSION": spec.Version, "AGENT_DID": spec.DID,
		"AGENT_DATA_DIR": "", "PORTAL_URL": s.PortalURL,
		"QUEUE_URL": s.Broker.URL(), "QUEUE_USER": a.ID, "QUEUE_TOKEN": token,
	})
	if d, ok := s.Runtimes[runtimeName(spec)].(DataDirer); ok {
		vars["AGENT_DATA_DIR"] = d.DataDir(a.ID)
		vars["HOME"] = vars["AGENT_DATA_DIR"]
	}
	o := &outfit{a: a, spec: spec, revision: revision, vars: vars}
	if spec.Template != "" {
		if o.command, err = s.builtIn(spec.Template); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// resolve puts the values of the spec's secrets into vars.
func (s *Service) resolve(ctx context.Context, spec agent.Spec, vars map[string]string) error {
	var wrong []fault.Field
	for _, name := range slices.Sorted(maps.Keys(spec.Secrets)) {
		v, err := s.Secrets.Secret(ctx, spec.Secrets[name])
		f := fault.As(err)
		switch {
		case err != nil && f == nil:
			return err
		case f != nil:
			wrong = append(wrong, fault.Field{Path: "secrets." + name, Message: f.Error()})
		default:
			vars[name] = v
		}
	}
	if len(wrong) > 0 {
		return fault.New(fault.Invalid, "fleet.secret_missing", "The secrets of %s can't be read", spec.Name).
			At(wrong...).Do("Put them where the references point, or correct the references.")
	}
	return nil
}

// builtIn gives the argv of a built-in agent program.
func (s *Service) builtIn(template string) ([]string, error) {
	if len(s.SelfCommand) == 0 || !slices.Contains(s.Templates, template) {
		return nil, fault.New(fault.Invalid, "fleet.template_missing", "There is no built-in agent %q on this portal", template).
			Do("Use one of the templates listed, or give a command.").With("templates", s.Templates)
	}
	return append(slices.Clone(s.SelfCommand), "agent", "run", template), nil
}

// instance gives the variables of one instance.
func (o *outfit) instance(index, port int) map[string]string {
	vars := maps.Clone(o.vars)
	vars["AGENT_INSTANCE"] = InstanceID(o.a.ID, o.revision, index)
	vars["PORT"] = strconv.Itoa(port)
	return vars
}

// launch gives what the runtime needs to run one instance.
func (o *outfit) launch(index, port int) (Launch, error) {
	x, err := o.spec.Expand(o.instance(index, port))
	if err != nil {
		return Launch{}, err
	}
	probes, err := probesFor(o.a, o.spec, "", port)
	if err != nil {
		return Launch{}, err
	}
	l := Launch{
		InstanceID: InstanceID(o.a.ID, o.revision, index), AgentID: o.a.ID, Revision: o.revision, Index: index,
		Port: port, Command: x.Command, Args: x.Args, Image: o.spec.Image, Env: x.Env, Open: o.open(x.Env), Health: probes,
		Resources: o.spec.Resources, Volumes: o.spec.Volumes, Ports: o.spec.Ports, Restart: o.spec.Restart,
		Grace: grace(o.spec),
	}
	if o.command != nil {
		l.Command, l.Args = o.command[0], append(slices.Clone(o.command[1:]), x.Args...)
	}
	return l, nil
}

// open gives the names of the variables that may be read by many: what the portal
// itself says, without the credential. What people put into env may be anything.
func (o *outfit) open(env map[string]string) []string {
	var names []string
	for _, name := range append([]string{"LANG", "HOME"}, agent.ContractVars...) {
		_, given := env[name]
		_, ours := o.spec.Env[name]
		_, secret := o.spec.Secrets[name]
		if given && name != "QUEUE_TOKEN" && !ours && !secret {
			names = append(names, name)
		}
	}
	return names
}

func grace(spec agent.Spec) time.Duration { return spec.StopTimeout.Or(agent.DefaultStopTimeout) }

// probesOf gives the probes of a spec. The built-in agents answer for their
// health whether or not their spec says so.
func probesOf(spec agent.Spec) agent.Probes {
	if spec.Template == "" || spec.Probes.Liveness != nil || spec.Probes.Readiness != nil {
		return spec.Probes
	}
	return agent.Probes{
		Liveness:  &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/health"}},
		Readiness: &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/ready"}},
	}
}

// probesFor gives the probes with their hosts and ports filled in for one instance.
func probesFor(a *agent.Agent, spec agent.Spec, host string, port int) (agent.Probes, error) {
	p := probesOf(spec)
	vars := maps.Clone(spec.Env)
	if vars == nil {
		vars = map[string]string{}
	}
	vars["PORT"], vars["AGENT_ID"] = strconv.Itoa(port), a.ID
	var err error
	for _, q := range []**agent.Probe{&p.Liveness, &p.Readiness} {
		if *q, err = fill(*q, vars, host); err != nil {
			return agent.Probes{}, err
		}
	}
	return p, nil
}

// fill gives a copy of the probe with its host, and its port as a number.
func fill(p *agent.Probe, vars map[string]string, host string) (*agent.Probe, error) {
	if p == nil {
		return nil, nil
	}
	c := *p
	switch {
	case p.HTTP != nil:
		n, err := p.HTTP.Port.Resolve(vars)
		if err != nil {
			return nil, err
		}
		c.HTTP = &agent.HTTPProbe{Path: p.HTTP.Path, Host: host, Port: agent.PortRef(strconv.Itoa(n))}
	case p.TCP != nil:
		n, err := p.TCP.Port.Resolve(vars)
		if err != nil {
			return nil, err
		}
		c.TCP = &agent.TCPProbe{Host: host, Port: agent.PortRef(strconv.Itoa(n))}
	}
	return &c, nil
}

// maxSecret bounds a secret, in bytes.
const maxSecret = 64 << 10

var (
	secretFile = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	secretVar  = regexp.MustCompile(`^PORTAL_SECRET_[A-Z0-9_]{1,100}$`)
)

// SecretDir resolves file:NAME to the content of a file in Dir, without the
// newline at its end, and env:PORTAL_SECRET_NAME to a variable of the portal's
// own environment. Nothing else of the machine can be reached through it.
type SecretDir struct {
	Dir    string
	Getenv func(name string) (string, bool) // nil means os.LookupEnv
}

// Secret implements SecretSource.
func (d SecretDir) Secret(_ context.Context, reference string) (string, error) {
	kind, name, _ := strings.Cut(reference, ":")
	switch {
	case kind == "file" && secretFile.MatchString(name):
		return d.file(name)
	case kind == "env" && secretVar.MatchString(name):
		get := d.Getenv
		if get == nil {
			get = os.LookupEnv
		}
		if v, ok := get(name); ok {
			return v, nil
		}
		return "", fault.New(fault.NotFound, "secret.not_found", "There is no secret env:%s", name).
			Because("the portal was started without that variable").Do("Set it in the portal's environment and restart the portal.")
	}
	// The text is not repeated: it may be the secret itself.
	return "", fault.New(fault.Invalid, "secret.bad_reference", "The reference to a secret is not understood").
		Do("Use file:NAME or env:PORTAL_SECRET_NAME.")
}

func (d SecretDir) file(name string) (string, error) {
	root, err := os.OpenRoot(d.Dir)
	if err == nil {
		defer root.Close()
		var info fs.FileInfo
		if info, err = root.Stat(name); err == nil {
			return read(root, info, name)
		}
	}
	missing := fault.New(fault.NotFound, "secret.not_found", "There is no secret file:%s", name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", missing.Because("the secrets directory has no such file").
			Do("Put the value into a file of that name in the portal's secrets directory.").Wrap(err)
	}
	return "", missing.Because("the file can't be read").Do("Let the portal's user read it; it must lie in the secrets directory itself.").Wrap(err)
}

// read gives the content of a regular file; opening a pipe would wait for its writer.
func read(root *os.Root, info fs.FileInfo, name string) (string, error) {
	data, err := []byte(nil), errors.New("not a regular file")
	if info.Mode().IsRegular() {
		var f *os.File
		if f, err = root.Open(name); err == nil {
			defer f.Close()
			data, err = io.ReadAll(io.LimitReader(f, maxSecret+1))
		}
	}
	if err != nil {
		return "", fault.New(fault.Invalid, "secret.unreadable", "The secret file:%s can't be read", name).
			Do("It must be a plain file that the portal's user may read.").Wrap(err)
	}
	if len(data) > maxSecret || strings.IndexByte(string(data), 0) >= 0 {
		return "", fault.New(fault.Invalid, "secret.unusable", "The secret file:%s can't be put into an environment", name).
			Because("it is longer than %d bytes or has a NUL byte", maxSecret).Do("Use a shorter text.")
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}
