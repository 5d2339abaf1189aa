package agent

// Spec is what the operator declares. It is stored whole with each revision.
type Spec struct {
	ID             string              `json:"id,omitempty" yaml:"id,omitempty" doc:"Slug, unique; derived from name where it is left out"`
	Name           string              `json:"name" yaml:"name" doc:"Unique name by which others depend on it"`
	DisplayName    string              `json:"display_name,omitempty" yaml:"display_name,omitempty"`
	DID            string              `json:"did,omitempty" yaml:"did,omitempty" doc:"Decentralised identifier"`
	Tier           int                 `json:"tier,omitempty" yaml:"tier,omitempty" doc:"1 to 6"`
	Domain         string              `json:"domain,omitempty" yaml:"domain,omitempty" doc:"guardian, creation, domain, communication, intelligence, security or scale"`
	Version        string              `json:"version,omitempty" yaml:"version,omitempty" doc:"Semantic version of the agent"`
	Description    string              `json:"description,omitempty" yaml:"description,omitempty"`
	Template       string              `json:"template,omitempty" yaml:"template,omitempty" doc:"Built-in agent program to run: blank or memory"`
	Capabilities   map[string][]string `json:"capabilities,omitempty" yaml:"capabilities,omitempty" doc:"Category to list"`
	Constraints    []Constraint        `json:"constraints,omitempty" yaml:"constraints,omitempty"`
	Dependencies   []string            `json:"dependencies,omitempty" yaml:"dependencies,omitempty" doc:"Names of the agents that this one needs"`
	WakePatterns   []string            `json:"wake_patterns,omitempty" yaml:"wake_patterns,omitempty" doc:"Globs on event subjects"`
	Specialization map[string]any      `json:"specialization,omitempty" yaml:"specialization,omitempty"`
	ResourceBudget float64             `json:"resource_budget,omitempty" yaml:"resource_budget,omitempty" doc:"USD per month"`
	Runtime        string              `json:"runtime,omitempty" yaml:"runtime,omitempty" doc:"process (default), docker, kubernetes, or KIND/NAME of a place that the portal is configured with"`
	Image          string              `json:"image,omitempty" yaml:"image,omitempty"`
	Command        string              `json:"command,omitempty" yaml:"command,omitempty" doc:"Program to run"`
	Args           []string            `json:"args,omitempty" yaml:"args,omitempty" doc:"$(PORT), $(AGENT_ID) and other variables of the environment expand"`
	Replicas       int                 `json:"replicas,omitempty" yaml:"replicas,omitempty" doc:"Instances to run; 1 where left out, at most 100"`
	Resources      Resources           `json:"resources,omitzero" yaml:"resources,omitempty"`
	Env            map[string]string   `json:"env,omitempty" yaml:"env,omitempty"`
	Secrets        map[string]string   `json:"secrets,omitempty" yaml:"secrets,omitempty" doc:"Variable to reference, file:NAME (in the secrets directory) or env:NAME (of the portal, only PORTAL_SECRET_*); never a value"`
	Ports          []Port              `json:"ports,omitempty" yaml:"ports,omitempty" doc:"Fixed ports, beside the PORT that every instance gets"`
	Volumes        []Volume            `json:"volumes,omitempty" yaml:"volumes,omitempty"`
	Probes         Probes              `json:"probes,omitzero" yaml:"probes,omitempty"`
	Restart        RestartPolicy       `json:"restart,omitzero" yaml:"restart,omitempty"`
	StopTimeout    Duration            `json:"stop_timeout,omitzero" yaml:"stop_timeout,omitempty" doc:"Time between SIGTERM and SIGKILL, default 10s"`
	Labels         map[string]string   `json:"labels,omitempty" yaml:"labels,omitempty"`
	CustomerID     string              `json:"customer_id,omitempty" yaml:"customer_id,omitempty"`
	// Extra keeps imported fields that this version does not know.
	Extra map[string]any `json:"extra,omitempty" yaml:"extra,omitempty" doc:"Imported fields that are not part of the specification; kept as they are"`
}

// Constraint is a rule the agent obeys and why.
type Constraint struct {
	Rule   string `json:"rule" yaml:"rule"`
	Reason string `json:"reason,omitempty" yaml:"reason,omitempty"`
}

// Resources are limits of one instance; zero means the runtime's default.
type Resources struct {
	CPU    float64  `json:"cpu,omitempty" yaml:"cpu,omitempty" doc:"Cores, 0.1 to 64"`
	Memory Quantity `json:"memory,omitzero" yaml:"memory,omitempty" doc:"Bytes, as 256Mi or 1G"`
	Disk   Quantity `json:"disk,omitzero" yaml:"disk,omitempty" doc:"Bytes that the agent's directories may hold"`
	PIDs   int      `json:"pids,omitempty" yaml:"pids,omitempty" doc:"Processes and threads; default 512"`
	// OpenFiles bounds files and connections of one process.
	OpenFiles int `json:"open_files,omitempty" yaml:"open_files,omitempty" doc:"Files and connections that one process may have open, 16 to 1048576; as many as the portal may grant where left out"`
}

// Port is a fixed port the agent listens on.
type Port struct {
	Name string `json:"name" yaml:"name"`
	Port int    `json:"port" yaml:"port"`
}

// Volume is a directory that outlives instances.
type Volume struct {
	Name     string   `json:"name" yaml:"name"`
	Path     string   `json:"path,omitempty" yaml:"path,omitempty" doc:"Relative path in the working directory where it appears; the name where left out"`
	Size     Quantity `json:"size,omitzero" yaml:"size,omitempty"`
	ReadOnly bool     `json:"read_only,omitempty" yaml:"read_only,omitempty"`
}

// Probes tell whether an instance lives and whether it may take work.
type Probes struct {
	Liveness  *Probe `json:"liveness,omitempty" yaml:"liveness,omitempty"`
	Readiness *Probe `json:"readiness,omitempty" yaml:"readiness,omitempty"`
}

// Probe is one check; exactly one of HTTP, TCP and Exec is set.
type Probe struct {
	HTTP             *HTTPProbe `json:"http,omitempty" yaml:"http,omitempty"`
	TCP              *TCPProbe  `json:"tcp,omitempty" yaml:"tcp,omitempty"`
	Exec             *ExecProbe `json:"exec,omitempty" yaml:"exec,omitempty"`
	InitialDelay     Duration   `json:"initial_delay,omitzero" yaml:"initial_delay,omitempty"`
	Interval         Duration   `json:"interval,omitzero" yaml:"interval,omitempty" doc:"Default 10s, at least 100ms"`
	Timeout          Duration   `json:"timeout,omitzero" yaml:"timeout,omitempty" doc:"Default 1s"`
	FailureThreshold int        `json:"failure_threshold,omitempty" yaml:"failure_threshold,omitempty" doc:"Failures in a row before it counts; default 3"`
	SuccessThreshold int        `json:"success_threshold,omitempty" yaml:"success_threshold,omitempty" doc:"Successes in a row before it counts again; default 1"`
}

// HTTPProbe succeeds on a 2xx or 3xx answer from the instance.
type HTTPProbe struct {
	Path string  `json:"path,omitempty" yaml:"path,omitempty"`
	Port PortRef `json:"port,omitempty" yaml:"port,omitempty" doc:"Number or $(PORT), which is the default"`
	// Host is where the instance is, once a probe is for one; no spec can set it.
	Host string `json:"-" yaml:"-"`
}

// TCPProbe succeeds if a connection opens.
type TCPProbe struct {
	Port PortRef `json:"port,omitempty" yaml:"port,omitempty"`
	Host string  `json:"-" yaml:"-"` // as for HTTPProbe
}

// ExecProbe succeeds if the command, run in the instance's environment and limits, exits 0.
type ExecProbe struct {
	Command []string `json:"command" yaml:"command"`
}

// RestartPolicy says what happens when an instance ends by itself.
type RestartPolicy struct {
	Policy      string   `json:"policy,omitempty" yaml:"policy,omitempty" doc:"always (default), on-failure or never"`
	MaxRestarts int      `json:"max_restarts,omitempty" yaml:"max_restarts,omitempty" doc:"Restarts within the window before the agent is ERRORED; default 5"`
	Window      Duration `json:"window,omitzero" yaml:"window,omitempty" doc:"Default 5m"`
	Backoff     Backoff  `json:"backoff,omitzero" yaml:"backoff,omitempty"`
}

// Backoff is the wait before a restart: Initial, doubled each time up to Max;
// it starts over after an instance has lived for Window.
type Backoff struct {
	Initial Duration `json:"initial,omitzero" yaml:"initial,omitempty" doc:"Default 100ms"`
	Max     Duration `json:"max,omitzero" yaml:"max,omitempty" doc:"Default 30s"`
}
