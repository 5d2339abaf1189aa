package agent

import (
	"maps"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// ContractVars are the variables that the portal gives every instance. A spec
// may refer to them, and may set LOG_LEVEL alone of them.
var ContractVars = []string{
	"AGENT_ID", "AGENT_NAME", "AGENT_VERSION", "AGENT_INSTANCE", "AGENT_DID", "AGENT_DATA_DIR",
	"PORT", "LOG_LEVEL", "PORTAL_URL", "QUEUE_URL", "QUEUE_USER", "QUEUE_TOKEN",
}

// Expand replaces each $(NAME) by its value and each $$ by a single $. A name
// that vars does not hold, and a "$(" that is no reference, are Invalid faults
// that list what exists.
func Expand(s string, vars map[string]string) (string, error) {
	return scan(s, func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}, func() []string { return slices.Collect(maps.Keys(vars)) })
}

// scan walks over the references in s and asks value for each.
func scan(s string, value func(name string) (string, bool), names func() []string) (string, error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			b.WriteString(s)
			return b.String(), nil
		}
		b.WriteString(s[:i])
		switch s = s[i+1:]; s[0] {
		case '$':
			b.WriteByte('$')
			s = s[1:]
		case '(':
			name, rest, closed := strings.Cut(s[1:], ")")
			v, ok := "", false
			if closed && envName.MatchString(name) {
				v, ok = value(name)
			}
			if !ok {
				return "", unknownVariable("$("+name, closed, names())
			}
			b.WriteString(v)
			s = rest
		default:
			b.WriteByte('$')
		}
	}
}

func unknownVariable(ref string, closed bool, names []string) error {
	if closed {
		ref += ")"
	}
	slices.Sort(names)
	have := "there is none"
	if len(names) > 0 {
		have = "there are " + strings.Join(names, ", ")
	}
	return fault.New(fault.Invalid, "agent.unknown_variable", "%s is not a variable", quote(ref)).
		Because("%s", have).Do("Write $$( where $( itself is meant.").With("variables", names)
}

// Expanded is what a spec becomes for one instance.
type Expanded struct {
	Command string
	Args    []string
	Env     map[string]string // vars and the spec's env
}

// Expand fills in the references of command, args and env. vars are the
// contract variables and the resolved secrets. env may refer to these, command
// and args also to env. Where the spec sets a variable that vars has, the
// spec's value holds.
func (s Spec) Expand(vars map[string]string) (Expanded, error) {
	out := Expanded{Env: maps.Clone(vars)}
	if out.Env == nil {
		out.Env = map[string]string{}
	}
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		v, err := Expand(s.Env[k], vars)
		if err != nil {
			return Expanded{}, at(child("env", k), err)
		}
		out.Env[k] = v
	}
	var err error
	if out.Command, err = Expand(s.Command, out.Env); err != nil {
		return Expanded{}, at("command", err)
	}
	for i, a := range s.Args {
		v, err := Expand(a, out.Env)
		if err != nil {
			return Expanded{}, at(index("args", i), err)
		}
		out.Args = append(out.Args, v)
	}
	return out, nil
}

// Resolve gives the port number for one instance; "" stands for $(PORT).
func (p PortRef) Resolve(vars map[string]string) (int, error) {
	ref := p
	or(&ref, "$(PORT)")
	text, err := Expand(string(ref), vars)
	if err != nil {
		return 0, err
	}
	n, ok := PortRef(text).Number()
	if !ok || n < 1 || n > 65535 {
		return 0, fault.New(fault.Invalid, "agent.invalid_port", "%s is not a port", quote(text)).
			Because("%s stands for it", string(ref)).Do("Use a number from 1 to 65535.")
	}
	return n, nil
}

// at says which field a fault of Expand is about.
func at(path string, err error) error {
	f := fault.As(err)
	if f == nil {
		return err
	}
	return invalidSpec([]fault.Field{{Path: path, Message: f.What + ": " + f.Why}})
}
