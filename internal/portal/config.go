package portal

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes"
)

// Config is everything that can be set. Every zero value has a working default.
type Config struct {
	Data         string        // directory of everything that the portal keeps
	Listen       string        // HOST:PORT of the HTTP server
	PublicURL    string        // how browsers and agents reach it; from Listen where empty
	Hosts        []string      // further host names that requests may carry
	DatabaseURL  string        // PostgreSQL; SQLite in Data where empty
	BusURL       string        // external NATS; embedded where empty
	BusListen    string        // HOST:PORT of the embedded NATS for agents
	SecretsDir   string        // files that file:NAME references name
	PortFrom     int           // first port given to instances
	PortTo       int           // last port given to instances
	LogLevel     string        // debug, info, warn, error
	LogFormat    string        // text or json
	UndoWindow   time.Duration // how long undo is offered
	KeepEvents   time.Duration // age at which events are removed
	KeepProbes   time.Duration // age at which probe results are removed
	MetricsURL   string        // server that keeps time series; the data directory where empty
	KeepMetrics  time.Duration // age at which time series are removed
	KeepAlerts   time.Duration // age at which resolved alerts are removed
	Rules        []string      // rule files and directories beside Data/rules
	MetricsBytes int64         // what the finished blocks of time series may take
	SecureOnly   bool          // mark cookies Secure (behind TLS)
	Admins       []auth.Rule   // who of the identity providers' users is an admin
	Operators    []auth.Rule   // an operator
	Viewers      []auth.Rule   // a viewer
	Egress       egress.Policy // which addresses of the inside webhooks and receivers of alerts may reach
	OIDC         OIDC          // where people sign in who have no account of the portal's own

	Logs   Logs          // what agents write
	Quotas []fleet.Quota // what agents may ask for together
	Docker Docker        // the engine of agents with the runtime docker
	// Kubernetes is the cluster of those with the runtime kubernetes; there is none
	// without a Kubeconfig.
	Kubernetes kubernetes.Config
	// Places are further engines and clusters, by what specifications call them.
	Places []Place

	Diagnose time.Duration // between two scheduled diagnoses; 0 for none
	values   []Value       // what was set, and where
}

// OIDC says where people sign in. Without a ClientID nobody does.
type OIDC struct {
	Issuer   string
	ClientID string
	Secret   string // or file:NAME
	Name     string // for people
	Scopes   []string
}

// Load puts the configuration together: flags, then PORTAL_* environment, then
// the YAML file, then defaults. flags holds what was set on the command line, by
// flag name; "config" names the file. All mistakes are reported at once, as a
// fault of kind Invalid.
func Load(flags map[string]string, getenv func(string) string) (Config, []Value, error) {
	var problems []fault.Field
	k := koanf.New(".")
	path := flags["config"]
	if path == "" {
		path = getenv("PORTAL_CONFIG")
	}
	if path != "" {
		if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
			return Config{}, nil, fault.New(fault.Invalid, "config.file", "The configuration file %s can't be used", path).
				Because("%s", fileReason(err)).Do("Correct the file, or start without --config.")
		}
		for _, key := range k.Keys() {
			if !ofPlaces(key) && !slices.ContainsFunc(Settings, func(s Setting) bool { return s.Key == key }) {
				problems = append(problems, fault.Field{Path: key, Message: "there is no such setting"})
			}
		}
	}
	var c Config
	values := make([]Value, 0, len(Settings))
	for _, s := range Settings {
		v := Value{Setting: s, Value: s.Default, Source: "default"}
		if k.Exists(s.Key) {
			v.Value, v.Source = k.String(s.Key), "file "+path
		}
		if e := getenv(s.Env()); e != "" {
			v.Value, v.Source = e, "environment "+s.Env()
		}
		if f, ok := flags[s.Flag()]; ok {
			v.Value, v.Source = f, "flag --"+s.Flag()
		}
		if v.Value != "" {
			if err := s.set(&c, v.Value); err != nil {
				problems = append(problems, fault.Field{Path: s.Key, Message: err.Error() + " (from " + v.Source + ")"})
			}
		}
		values = append(values, v)
	}
	places, wrong := readPlaces(k.Get(placesKey), path, values)
	for _, p := range places {
		c.Places = append(c.Places, p.Place)
		values = append(values, p.values...)
	}
	problems = append(problems, wrong...)
	if c.PortFrom > c.PortTo {
		problems = append(problems, fault.Field{Path: "ports.to", Message: "is smaller than ports.from"})
	}
	if len(problems) > 0 {
		return c, values, fault.New(fault.Invalid, "config.invalid", "The configuration can't be used").
			At(problems...).Do("`portal config check` explains every setting.")
	}
	c.values = values
	return c, values, c.complete()
}

func fileReason(err error) string {
	if os.IsNotExist(err) {
		return "it does not exist"
	}
	if os.IsPermission(err) {
		return "it can't be read by this user"
	}
	return err.Error()
}

// complete fills in what depends on other settings.
func (c *Config) complete() error {
	abs, err := filepath.Abs(c.Data)
	if err != nil {
		return fmt.Errorf("find data directory: %w", err)
	}
	c.Data = abs
	if c.SecretsDir == "" {
		c.SecretsDir = filepath.Join(c.Data, "secrets")
	}
	if c.PublicURL == "" {
		host, port, _ := net.SplitHostPort(c.Listen)
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		c.PublicURL = "http://" + net.JoinHostPort(host, port)
	}
	return nil
}
