package agent

import (
	"maps"
	"regexp"
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

// reference is an escaped dollar or a $(NAME). What only begins like one, as
// $((n + 1)) or $(cat file) in a shell script, is none.
var reference = regexp.MustCompile(`\$\$|\$\([A-Za-z_][A-Za-z0-9_]*\)`)

// Expand replaces each $(NAME) by its value and each $$ by a single $. A name
// that vars does not hold is an Invalid fault that lists what exists.
func Expand(s string, vars map[string]string) (string, error) {
	var unknown string
	out := scan(s, func(name string) string {
		v, ok := vars[name]
		if !ok && unknown == "" {
			unknown = name
		}
		return v
	})
	if unknown == "" {
		return out, nil
	}
	names := slices.Sorted(maps.Keys(vars))
	have := "there is none"
	if len(names) > 0 {
		have = "there are " + strings.Join(names, ", ")
	}
	return "", fault.New(fault.Invalid, "agent.unknown_variable", "$(%s) is not a variable", short(unknown)).
		Because("%s", have).Do("Write $$( where $( itself is meant.").With("variables", names)
}

// scan replaces the references in s.
func scan(s string, value func(name string) string) string {
	return reference.ReplaceAllStringFunc(s, func(ref string) string {
		if ref == "$$" {
			return "$"
		}
		return value(ref[2 : len(ref)-1])
	})
}

// Literal writes a text so that Expand gives it as it is.
func Literal(s string) string {
	if reference.MatchString(s) {
		return strings.ReplaceAll(s, "$", "$$")
	}
	return s
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
