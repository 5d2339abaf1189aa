package agent

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	maxArgs    = 256
	maxArg     = 32 << 10
	maxCommand = 4096
)

var (
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	fileRef   = regexp.MustCompile(`^file:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	envRef    = regexp.MustCompile(`^env:PORTAL_SECRET_[A-Z0-9_]{1,100}$`)
	imageForm = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9._/:@-]*$`)
)

// program checks what is to run. Nothing at all is allowed: the blank template
// runs then.
func (c *checker) program() {
	s := c.spec
	runtime := s.Runtime
	or(&runtime, DefaultRuntime)
	if wrong := WrongRuntime(runtime); wrong != "" {
		c.wrong("runtime", "%s", wrong)
	}
	kind := RuntimeKind(runtime)
	if s.Template != "" && !slices.Contains(Templates, s.Template) {
		c.wrong("template", "must be one of %s, not %s", strings.Join(Templates, ", "), quote(s.Template))
	}
	if s.Template != "" && s.Command != "" {
		c.wrong("template", "can't be given together with command; remove one of them")
	}
	if s.Template != "" && s.Image != "" {
		c.wrong("template", "can't be given together with image; remove one of them")
	}
	if s.Image != "" && runtime == DefaultRuntime {
		c.wrong("image", "can't be run by the runtime process; name another runtime, or a command instead")
	} else if s.Image != "" && (len(s.Image) > maxText || !imageForm.MatchString(s.Image)) {
		c.wrong("image", "%s is not the name of an image", quote(s.Image))
	} else if strings.Contains(s.Image, "://") && (kind != Docker || !strings.HasPrefix(s.Image, "build://")) {
		c.wrong("image", "%s is not the name of an image; only the runtime docker builds one (build://DIRECTORY)", quote(s.Image))
	}
	if s.Command != "" && s.Image == "" && (kind == Docker || kind == Kubernetes) {
		c.wrong("image", "must be given, because the runtime %s runs the command in it", runtime)
	}
	if s.Command != "" && (strings.TrimSpace(s.Command) == "" || len(s.Command) > maxCommand) {
		c.wrong("command", "must be the name or path of a program, at most %d bytes", maxCommand)
	}
	if len(s.Args) > 0 && s.Command == "" && s.Image == "" {
		c.wrong("args", "need a command or an image that takes them")
	}
	c.argument("command", s.Command)
	c.count("args", len(s.Args), maxArgs)
	for i, a := range s.Args {
		c.argument(index("args", i), a)
	}
	if s.Replicas < 0 || s.Replicas > maxReplicas {
		c.wrong("replicas", "must be 1 to %d, not %d", maxReplicas, s.Replicas)
	}
}

// argument checks a part of a command line, which others on the machine can
// read: secrets have no place there.
func (c *checker) argument(path, a string) {
	c.raw(path, a)
	c.references(path, a, func(name string) string {
		if _, secret := c.spec.Secrets[name]; secret || name == "QUEUE_TOKEN" {
			return "$(" + name + ") is secret and would show in the list of processes; let the program read it from its environment"
		}
		_, own := c.spec.Env[name]
		return c.unknown(name, own, slices.Collect(maps.Keys(c.spec.Env)))
	})
}

// raw checks what is handed to the operating system.
func (c *checker) raw(path, s string) {
	if strings.IndexByte(s, 0) >= 0 {
		c.wrong(path, "must not have a NUL character")
	}
	if len(s) > maxArg {
		c.wrong(path, "must be at most %d bytes", maxArg)
	}
}

// references checks each $(NAME); refuse says what is wrong with one, or "".
func (c *checker) references(path, s string, refuse func(name string) string) {
	scan(s, func(name string) string {
		if why := refuse(name); why != "" {
			c.wrong(path, "%s", why)
		}
		return ""
	})
}

func (c *checker) unknown(name string, known bool, more []string) string {
	if known || slices.Contains(ContractVars, name) {
		return ""
	}
	names := append(slices.Sorted(slices.Values(more)), ContractVars...)
	return "$(" + short(name) + ") is not a variable; there are " + strings.Join(names, ", ") + ". Write $$( where $( itself is meant"
}

// variables checks env and secrets.
func (c *checker) variables() {
	s := c.spec
	c.count("env", len(s.Env), maxList)
	secrets := slices.Collect(maps.Keys(s.Secrets))
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		at := child("env", k)
		c.variable(at, k)
		c.raw(at, s.Env[k])
		c.references(at, s.Env[k], func(name string) string {
			if _, own := s.Env[name]; own && !slices.Contains(ContractVars, name) {
				return "$(" + name + ") is itself in env; refer to variables of the portal and to secrets only"
			}
			_, secret := s.Secrets[name]
			return c.unknown(name, secret, secrets)
		})
	}
	c.count("secrets", len(s.Secrets), maxList)
	for _, k := range slices.Sorted(maps.Keys(s.Secrets)) {
		at := child("secrets", k)
		c.variable(at, k)
		if _, both := s.Env[k]; both {
			c.wrong(at, "is in env too; give it once")
		}
		if ref := s.Secrets[k]; !fileRef.MatchString(ref) && !envRef.MatchString(ref) {
			// The text is not repeated: it may be the secret itself.
			c.wrong(at, "must be a reference: file:NAME, a file in the secrets directory, or env:PORTAL_SECRET_NAME, a variable of the portal; never the secret itself")
		}
	}
}

func (c *checker) variable(path, name string) {
	switch {
	case !envName.MatchString(name) || len(name) > maxText:
		c.wrong(path, "is not the name of a variable: letters, digits and _ only, not beginning with a digit")
	case PortalSets(name):
		c.wrong(path, "is set by the portal; choose another name")
	}
}

// PortalSets tells whether a variable is the portal's alone, so that no spec may have it.
func PortalSets(name string) bool {
	return name == "PORT" || name == "PORTAL_URL" || strings.HasPrefix(name, "AGENT_") || strings.HasPrefix(name, "QUEUE_")
}

func (c *checker) portsAndVolumes() {
	s := c.spec
	c.count("ports", len(s.Ports), maxLabels)
	if len(s.Ports) > 0 && s.Replicas > 1 && RuntimeKind(s.Runtime) != Kubernetes { // elsewhere they are ports of one machine
		c.wrong("ports", "can't be shared by %d replicas on one machine; let each use its $(PORT)", s.Replicas)
	}
	names, numbers := map[string]bool{}, map[int]bool{}
	for i, p := range s.Ports {
		at := index("ports", i)
		c.unique(at+".name", p.Name, names)
		switch {
		case p.Port < 1 || p.Port > 65535:
			c.wrong(at+".port", "must be 1 to 65535, not %d", p.Port)
		case numbers[p.Port]:
			c.wrong(at+".port", "%d is there twice", p.Port)
		}
		numbers[p.Port] = true
	}
	c.volumes()
}

func (c *checker) volumes() {
	c.count("volumes", len(c.spec.Volumes), maxLabels)
	names, paths := map[string]bool{}, []string{}
	for i, v := range c.spec.Volumes {
		at := index("volumes", i)
		c.unique(at+".name", v.Name, names)
		c.size(at+".size", v.Size, 4<<10)
		where := v.Path
		or(&where, v.Name)
		if where == "" {
			continue
		}
		if !cleanRelative(where) {
			c.wrong(at+".path", "must be a relative path below the working directory, without .. and control characters")
			continue
		}
		for _, other := range paths {
			if where == other || strings.HasPrefix(where, other+"/") || strings.HasPrefix(other, where+"/") {
				c.wrong(at+".path", "%s overlaps with %s of another volume", quote(where), quote(other))
			}
		}
		paths = append(paths, where)
	}
}

func (c *checker) unique(path, name string, seen map[string]bool) {
	switch {
	case !slugForm.MatchString(name):
		c.wrong(path, slugRule)
	case seen[name]:
		c.wrong(path, "%s is there twice", quote(name))
	}
	seen[name] = true
}

func cleanRelative(p string) bool {
	return len(p) <= 1024 && p != "." && path.Clean(p) == p && !path.IsAbs(p) && p != ".." && !strings.HasPrefix(p, "../") &&
		!strings.Contains(p, `\`) && !strings.ContainsFunc(p, hidden)
}

func (c *checker) probe(at string, p *Probe) {
	if p == nil {
		return
	}
	kinds := 0
	for _, given := range []bool{p.HTTP != nil, p.TCP != nil, p.Exec != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		c.wrong(at, "must have exactly one of http, tcp and exec, not %d", kinds)
	}
	if p.HTTP != nil {
		h := p.HTTP.Path
		if h != "" && (!strings.HasPrefix(h, "/") || len(h) > 1024 || strings.ContainsFunc(h, func(r rune) bool { return hidden(r) || unicode.IsSpace(r) })) {
			c.wrong(at+".http.path", "must begin with / and have no spaces")
		}
		c.port(at+".http.port", p.HTTP.Port)
	}
	if p.TCP != nil {
		c.port(at+".tcp.port", p.TCP.Port)
	}
	if p.Exec != nil {
		if len(p.Exec.Command) == 0 || p.Exec.Command[0] == "" {
			c.wrong(at+".exec.command", "must name a program")
		}
		c.count(at+".exec.command", len(p.Exec.Command), maxArgs)
		for i, a := range p.Exec.Command {
			c.raw(index(at+".exec.command", i), a)
		}
	}
	c.span(at+".initial_delay", p.InitialDelay, time.Millisecond, time.Hour)
	c.span(at+".interval", p.Interval, 100*time.Millisecond, time.Hour)
	c.span(at+".timeout", p.Timeout, 10*time.Millisecond, time.Minute)
	c.threshold(at+".failure_threshold", p.FailureThreshold)
	c.threshold(at+".success_threshold", p.SuccessThreshold)
}

func (c *checker) threshold(path string, n int) { c.between(path, n, 1, 100) }

func (c *checker) port(path string, p PortRef) {
	if n, ok := p.Number(); ok {
		if n < 1 || n > 65535 {
			c.wrong(path, "must be 1 to 65535, not %d", n)
		}
		return
	}
	if p == "" || p == "$(PORT)" {
		return
	}
	// One of the spec's own variables may stand for a port that the program is
	// told to listen on.
	name := strings.TrimSuffix(strings.TrimPrefix(string(p), "$("), ")")
	if n, ok := PortRef(c.spec.Env[name]).Number(); string(p) != "$("+name+")" || !ok || n < 1 || n > 65535 {
		c.wrong(path, "must be a port number, $(PORT), or a variable of env that is a port number, not %s", quote(string(p)))
	}
}
