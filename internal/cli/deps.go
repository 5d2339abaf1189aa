// Package cli is the portal's command line: commands for people and scripts
// over the HTTP API, and the local commands that cmd/portal lends it.
package cli

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/diagnosis"
)

// Deps are the commands that work on this machine instead of over the API.
// cmd/portal fills them in; a command whose function is nil says that this
// build does not have it.
type Deps struct {
	// Version is shown by "portal version" and sent as the User-Agent.
	Version Version
	// ServeFlags are the flags of serve, config check and doctor beside the
	// built-in ones of BaseFlags. A flag with the name of a built-in one
	// replaces it.
	ServeFlags []Flag
	// Templates are the names that AgentRun knows, for help and completion.
	Templates []string

	// Serve runs the portal until ctx ends and everything is stopped.
	Serve func(ctx context.Context, o ServeOptions) error
	// TokenCreate makes an API token in the data directory, also while a portal
	// is serving from it, and gives the secret.
	TokenCreate func(ctx context.Context, o TokenOptions) (secret string, err error)
	// AuditVerify checks the chain of the audit log in the data directory, and
	// that it holds the anchors. A broken chain is a report, not an error.
	AuditVerify func(ctx context.Context, o ServeOptions, anchors ...audit.Anchor) (audit.Report, error)
	// ConfigCheck gives every setting with its value and where it came from;
	// values of secrets are replaced by the callee. Invalid settings are a fault.
	ConfigCheck func(ctx context.Context, o ServeOptions) ([]Setting, error)
	// Doctor looks at this machine and the data directory.
	Doctor func(ctx context.Context, o ServeOptions) ([]diagnosis.Finding, error)
	// AgentRun runs a built-in agent in the foreground until ctx ends.
	AgentRun func(ctx context.Context, template string) error
	// Shim supervises one instance; it reads its orders by itself and gives the
	// exit code.
	Shim func() int
}

// Version says what was built.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"` // of the commit, RFC 3339
}

// Flag is a flag of serve: the name of a setting.
type Flag struct {
	Name    string // e.g. "log-level"
	Usage   string
	Default string // shown in help only; the flag counts only when it is given
	// Bool makes a flag that needs no value; it arrives as "true" or "false".
	Bool bool
}

// ServeOptions are the flags that were given, by name; a flag that was not
// given is absent, so that environment and file can speak.
type ServeOptions struct {
	Flags map[string]string
}

// TokenOptions say which token to make.
type TokenOptions struct {
	ServeOptions
	Name string
	Role string        // viewer, operator or admin
	TTL  time.Duration // 0: the default of auth
}

// Setting is one value of the configuration.
type Setting struct {
	Name   string `json:"name"`   // e.g. "listen"
	Value  string `json:"value"`  // as it is in force
	Source string `json:"source"` // default, flag, environment PORTAL_X or file PATH
	Doc    string `json:"doc,omitempty"`
}

// BaseFlags are the settings that can always be given to serve.
func BaseFlags() []Flag {
	return []Flag{
		{Name: "data", Usage: "directory of everything the portal keeps", Default: "./data"},
		{Name: "listen", Usage: "address to serve on, HOST:PORT", Default: "127.0.0.1:8080"},
		{Name: "config", Usage: "YAML file with settings"},
		{Name: "log-level", Usage: "debug, info, warn or error", Default: "info"},
	}
}
