package portal

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/oidc"
)

// Setting is one row of the table of settings: its name, what it means, its
// default, and how a text becomes its value.
type Setting struct {
	Key     string // in the file and, with dots as dashes, the flag
	Doc     string
	Default string
	Secret  bool // not shown
	set     func(c *Config, v string) error
}

// Env is the name of the environment variable of the setting.
func (s Setting) Env() string {
	return "PORTAL_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.Key))
}

// Flag is the name of the command-line flag of the setting.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Key, ".", "-") }

// Value is one setting as it is in force.
type Value struct {
	Setting
	Value  string
	Source string // "default", "file PATH", "environment NAME" or "flag --NAME"
}

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = v; return nil }
}

func span(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			return fmt.Errorf("%q is not a positive duration such as 15m or 72h", v)
		}
		*field(c) = d
		return nil
	}
}

func port(field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1024 || n > 65535 {
			return fmt.Errorf("%q is not a port from 1024 to 65535", v)
		}
		*field(c) = n
		return nil
	}
}

func rules(role auth.Role, field func(*Config) *[]auth.Rule) func(*Config, string) error {
	return func(c *Config, v string) (err error) {
		*field(c), err = auth.ParseRules(role, v)
		return err
	}
}

func boolean(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, v string) (err error) {
		if *field(c), err = strconv.ParseBool(v); err != nil {
			return fmt.Errorf("%q is not true or false", v)
		}
		return nil
	}
}

func oneOf(field func(*Config) *string, values ...string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("%q is not one of %s", v, strings.Join(values, ", "))
		}
		*field(c) = v
		return nil
	}
}

func hostPort(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if _, _, err := net.SplitHostPort(v); err != nil {
			return fmt.Errorf("%q is not HOST:PORT, for example 127.0.0.1:8080", v)
		}
		*field(c) = v
		return nil
	}
}

// Settings is the table of all settings, in the order in which they are explained.
var Settings = []Setting{
	{Key: "data", Default: "data", Doc: "Directory of everything that the portal keeps: database, queues, agents and their logs.",
		set: text(func(c *Config) *string { return &c.Data })},
	{Key: "listen", Default: "127.0.0.1:8080", Doc: "Address of the HTTP server. Anything but loopback should stand behind TLS.",
		set: hostPort(func(c *Config) *string { return &c.Listen })},
	{Key: "public-url", Doc: "Address under which browsers and agents reach the portal; made from listen where empty.",
		set: text(func(c *Config) *string { return &c.PublicURL })},
	{Key: "hosts", Doc: "Further host names that requests may carry, separated by commas; others are refused.",
		set: func(c *Config, v string) error {
			c.Hosts = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
			return nil
		}},
	{Key: "database.url", Secret: true, Doc: "PostgreSQL connection URL; SQLite in the data directory where empty.",
		set: text(func(c *Config) *string { return &c.DatabaseURL })},
	{Key: "bus.url", Secret: true, Doc: "URL of an external NATS server whose JetStream has 4 GiB left; an embedded one where empty.",
		set: text(func(c *Config) *string { return &c.BusURL })},
	{Key: "bus.listen", Default: "127.0.0.1:0", Doc: "Address on which the embedded NATS serves agents. Port 0 picks a free one at the first start and keeps it.",
		set: hostPort(func(c *Config) *string { return &c.BusListen })},
	{Key: "secrets.dir", Doc: "Directory of the files that file:NAME secret references name; DATA/secrets where empty.",
		set: text(func(c *Config) *string { return &c.SecretsDir })},
	{Key: "ports.from", Default: "15000", Doc: "First port that instances are given.",
		set: port(func(c *Config) *int { return &c.PortFrom })},
	{Key: "ports.to", Default: "31999", Doc: "Last port that instances are given.",
		set: port(func(c *Config) *int { return &c.PortTo })},
	{Key: "docker.host", Doc: "Docker engine for agents with the runtime docker: unix:///var/run/docker.sock, tcp://HOST:PORT with docker.tls, or ssh://USER@HOST; none where empty. Whoever speaks to an engine is root on its machine: see docs/runtimes.md.",
		set: text(func(c *Config) *string { return &c.Docker.Host })},
	{Key: "docker.tls", Doc: "Directory with ca.pem, cert.pem and key.pem for an engine at tcp://HOST:PORT.",
		set: text(func(c *Config) *string { return &c.Docker.TLS })},
	{Key: "docker.ssh", Doc: "Directory with id (a private key) and known_hosts for an engine at ssh://USER@HOST; those of the portal's user where empty. The key of the machine has to be known.",
		set: text(func(c *Config) *string { return &c.Docker.SSH })},
	{Key: "docker.address", Doc: "IP address of the engine's machine, on which the ports of instances are published; what docker.host says where empty, 127.0.0.1 for a socket.",
		set: func(c *Config, v string) (err error) {
			c.Docker.Address = netip.Addr{}
			if v != "" {
				c.Docker.Address, err = netip.ParseAddr(v)
			}
			return err
		}},
	{Key: "docker.portal-host", Doc: "Name or address by which containers reach the portal's machine, where that is not the engine's.",
		set: text(func(c *Config) *string { return &c.Docker.PortalHost })},
	{Key: "docker.config", Doc: "File with the credentials of registries, in the form of ~/.docker/config.json.",
		set: text(func(c *Config) *string { return &c.Docker.Config })},
	{Key: "docker.build-root", Doc: "Directory whose directories may be built into images for agents that name the image build://DIRECTORY; no images are built where empty. The commands of their Dockerfiles run as root in containers of the engine, with its network.",
		set: text(func(c *Config) *string { return &c.Docker.BuildRoot })},
	{Key: "docker.allow", Doc: "What images may do although it is not needed by most: root (run as root where the image says so), writable (write to the image's file system); separated by commas.",
		set: func(c *Config, v string) error { return c.Docker.allow(v) }},
	{Key: "docker.pinned-only", Default: "false", Doc: "true refuses images that are not named by their digest.",
		set: boolean(func(c *Config) *bool { return &c.Docker.Policy.PinnedOnly })},
	{Key: "quotas", Doc: "What agents may ask for together, by tier, by runtime or both, for example \"tier=1 memory=8Gi cpu=4; runtime=docker replicas=20\". Bounds are agents, replicas, cpu, memory and disk; they are looked at when an agent is provisioned, deployed or moved.",
		set: func(c *Config, v string) (err error) {
			c.Quotas, err = fleet.ParseQuotas(v)
			return err
		}},
	{Key: "kubernetes.kubeconfig", Doc: "File that says how the cluster is reached for agents with the runtime kubernetes, or in-cluster for the one that the portal's own pod runs on; none where empty.",
		set: text(func(c *Config) *string { return &c.Kubernetes.Kubeconfig })},
	{Key: "kubernetes.context", Doc: "Context of the file; the current one where empty.",
		set: text(func(c *Config) *string { return &c.Kubernetes.Context })},
	{Key: "kubernetes.namespace", Doc: "Namespace for everything that the portal makes on the cluster; that of the context, or of the portal's own pod, where empty.",
		set: text(func(c *Config) *string { return &c.Kubernetes.Namespace })},
	{Key: "kubernetes.image", Doc: "Image that has the portal's program as its entry point, for built-in agents.",
		set: text(func(c *Config) *string { return &c.Kubernetes.Image })},
	{Key: "kubernetes.portal-host", Doc: "Name or address by which pods reach the portal's machine, put in place of a loopback address in PORTAL_URL and QUEUE_URL.",
		set: text(func(c *Config) *string { return &c.Kubernetes.PortalHost })},
	{Key: "kubernetes.pull-secret", Doc: "Secret of the namespace with the credentials of registries.",
		set: text(func(c *Config) *string { return &c.Kubernetes.PullSecret })},
	{Key: "kubernetes.storage-class", Doc: "Storage class of volumes; the cluster's default where empty.",
		set: text(func(c *Config) *string { return &c.Kubernetes.StorageClass })},
	{Key: "kubernetes.ingress", Doc: "Networks from which agents are reached on their ports, beside their namespace and the portal's, separated by commas, for example 10.0.0.0/8; from anywhere where this is empty and the portal is outside of the cluster.",
		set: networks(func(c *Config) *[]string { return &c.Kubernetes.Ingress })},
	{Key: "kubernetes.egress", Doc: "Networks that agents reach, beside their namespace, the portal's and name servers, separated by commas; anything where empty. With a portal outside of the cluster its address has to be among them.",
		set: networks(func(c *Config) *[]string { return &c.Kubernetes.Egress })},
	{Key: "log.level", Default: "info", Doc: "debug, info, warn or error.",
		set: oneOf(func(c *Config) *string { return &c.LogLevel }, "debug", "info", "warn", "error")},
	{Key: "log.format", Default: "text", Doc: "text or json, on standard error.",
		set: oneOf(func(c *Config) *string { return &c.LogFormat }, "text", "json")},
	{Key: "undo.window", Default: "15m", Doc: "How long an action can be undone.",
		set: span(func(c *Config) *time.Duration { return &c.UndoWindow })},
	{Key: "keep.events", Default: "720h", Doc: "Age at which events are removed; the newest 10000 always stay. The audit log is never removed.",
		set: span(func(c *Config) *time.Duration { return &c.KeepEvents })},
	{Key: "keep.probes", Default: "168h", Doc: "Age at which probe results are removed.",
		set: span(func(c *Config) *time.Duration { return &c.KeepProbes })},
	{Key: "metrics.url", Secret: true, Doc: "URL of a server that speaks the HTTP API of Prometheus and keeps the time series; they are kept in the data directory where empty.",
		set: text(func(c *Config) *string { return &c.MetricsURL })},
	{Key: "keep.metrics", Default: "360h", Doc: "Age at which time series are removed.",
		set: span(func(c *Config) *time.Duration { return &c.KeepMetrics })},
	{Key: "metrics.max-bytes", Default: "2Gi", Doc: "What the time series may take on the disk; the oldest are removed first. The newest hours come on top.",
		set: func(c *Config, v string) error {
			q, err := agent.ParseQuantity(v)
			if err == nil && q < 64<<20 {
				err = fmt.Errorf("%q is less than 64Mi", v)
			}
			c.MetricsBytes = int64(q)
			return err
		}},
	{Key: "diagnostics.every", Default: "15m", Doc: "Time between two scheduled diagnoses of the portal and of the agents that run, give or take a tenth; off for none.",
		set: func(c *Config, v string) error {
			if v == "off" {
				return nil
			}
			if d, err := time.ParseDuration(v); err != nil || d < time.Minute {
				return fmt.Errorf("%q is neither off nor a duration of a minute or more, such as 15m", v)
			}
			return span(func(c *Config) *time.Duration { return &c.Diagnose })(c, v)
		}},
	{Key: "egress.allow", Doc: "What webhooks and receivers of alerts may reach although it is on this machine or in a private network: host names, addresses (both may have a port) and networks, separated by commas.",
		set: func(c *Config, v string) (err error) {
			c.Egress, err = egress.Parse(v)
			return err
		}},
	{Key: "keep.logs", Default: "336h", Doc: "Age at which log entries are removed, by whole days, at least one. The files that agents' output is read from have bounds of their own.",
		set: span(func(c *Config) *time.Duration { return &c.Logs.Keep })},
	{Key: "logs.url", Secret: true, Doc: "Address of an external VictoriaLogs server for what agents write; an embedded store in the data directory where empty. How long it keeps entries is set there.",
		set: text(func(c *Config) *string { return &c.Logs.URL })},
	{Key: "logs.max-size", Default: "5GiB", Doc: "Bytes on disk that log entries may take; above it the oldest are removed.",
		set: size(func(c *Config) *int64 { return &c.Logs.Most })},
	{Key: "logs.min-free", Default: "512MiB", Doc: "Bytes that have to be free on the disk; below it nothing is taken into the embedded store, and it stays in the agents' files.",
		set: size(func(c *Config) *int64 { return &c.Logs.MinFree })},
	{Key: "keep.alerts", Default: "2160h", Doc: "Age at which resolved alerts, ended silences and notes about deliveries are removed.",
		set: span(func(c *Config) *time.Duration { return &c.KeepAlerts })},
	{Key: "rules", Doc: "Prometheus rule files, or directories of them, beside those in DATA/rules; separated by commas. They are read again within 30 seconds of a change.",
		set: func(c *Config, v string) error {
			for path := range strings.SplitSeq(v, ",") {
				if path = strings.TrimSpace(path); path != "" {
					c.Rules = append(c.Rules, path)
				}
			}
			return nil
		}},
	{Key: "oidc.client-id", Doc: "Client id of the portal at an OpenID Connect provider; people sign in there once it is set. Redirect address to register: PUBLIC-URL/auth/callback.",
		set: text(func(c *Config) *string { return &c.OIDC.ClientID })},
	{Key: "oidc.client-secret", Secret: true, Doc: "Secret of that client, or file:NAME of a file in the secrets directory that holds it.",
		set: text(func(c *Config) *string { return &c.OIDC.Secret })},
	{Key: "oidc.issuer", Default: oidc.Google, Doc: "Issuer of the provider, exactly as it writes it. Google needs nothing but the client's id and secret.",
		set: text(func(c *Config) *string { return &c.OIDC.Issuer })},
	{Key: "oidc.name", Doc: "What the button of the provider says; made from the issuer where empty.",
		set: text(func(c *Config) *string { return &c.OIDC.Name })},
	{Key: "oidc.scopes", Default: "email profile", Doc: "What is asked for besides openid, separated by spaces; some providers give groups only for a scope of their own.",
		set: func(c *Config, v string) error {
			c.OIDC.Scopes = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
			return nil
		}},
	{Key: "roles.admins", Doc: "Who of those who sign in with an identity provider is an admin: name@example.com, @example.com or claim:groups=VALUE, separated by commas.",
		set: rules(auth.Admin, func(c *Config) *[]auth.Rule { return &c.Admins })},
	{Key: "roles.operators", Doc: "Who is an operator; the highest role that fits counts. Whom nothing fits has no access.",
		set: rules(auth.Operator, func(c *Config) *[]auth.Rule { return &c.Operators })},
	{Key: "roles.viewers", Doc: "Who is a viewer.",
		set: rules(auth.Viewer, func(c *Config) *[]auth.Rule { return &c.Viewers })},
	{Key: "secure-cookies", Default: "false", Doc: "true marks cookies Secure; set it when browsers reach the portal over TLS.",
		set: boolean(func(c *Config) *bool { return &c.SecureOnly })},
}
