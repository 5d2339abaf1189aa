package arch

// Module is the import path of this module.
const Module = "github.com/waooaw/platform-portal"

// Portal are the rules of this repository. A new folder gets a row here with
// its purpose; a new library gets the one folder that may know it.
var Portal = Rules{Module: Module, Folders: folders, Libraries: libraries, Exceptions: exceptions}

var folders = []Folder{
	{Path: "internal/fault", Storey: Ground, Purpose: "the one error type that users see"},
	{Path: "internal/event", Storey: Ground, Purpose: "what happened, stored first and announced afterwards"},
	{Path: "internal/lifecycle", Storey: Ground, Purpose: "start and stop services in order"},
	{Path: "internal/txn", Storey: Ground, Purpose: "the unit of work that stores share"},
	{Path: "internal/manifest", Storey: Ground, Purpose: "bounded reading of YAML and JSON from outside", Sees: []string{"internal/fault"}},

	{Path: "internal/egress", Storey: Ground, Purpose: "requests to addresses that people typed in, and which of them are refused",
		Sees: []string{"internal/fault"},
		Std:  []string{"net/http"}}, // it is about HTTP requests

	{Path: "internal/audit", Storey: Domain, Purpose: "who did what, in a chain of hashes"},
	{Path: "internal/auth", Storey: Domain, Purpose: "who asks and what they may do", Sees: []string{"internal/audit"}},
	{Path: "internal/agent", Storey: Domain, Purpose: "what an agent is, its states and transitions", Sees: []string{"internal/audit", "internal/auth"}},
	{Path: "internal/operation", Storey: Domain, Purpose: "durable work in steps", Sees: []string{"internal/audit", "internal/auth"}},
	{Path: "internal/preference", Storey: Domain, Purpose: "what a person likes of the portal, for example saved filters"},
	{Path: "internal/queue", Storey: Domain, Purpose: "what the portal needs of a message queue"},
	{Path: "internal/fleet", Storey: Domain, Purpose: "actions on agents and the reconciler",
		Sees: []string{"internal/agent", "internal/audit", "internal/auth", "internal/health", "internal/operation", "internal/queue"}},
	{Path: "internal/health", Storey: Domain, Purpose: "probes, their history, and restarts of what hangs",
		Sees: []string{"internal/agent", "internal/audit"},
		Std:  []string{"net/http"}}, // an HTTP probe is an HTTP request
	{Path: "internal/metrics", Storey: Domain, Purpose: "what agents say of their own work, over the last hour", Sees: []string{"internal/queue"}},
	{Path: "internal/recovery", Storey: Domain, Purpose: "what goes wrong, why, and what is done about it",
		Sees: []string{"internal/agent", "internal/audit", "internal/auth", "internal/fleet", "internal/health", "internal/operation", "internal/queue", "internal/recovery/cause"}},
	{Path: "internal/recovery/cause", Storey: Domain, Purpose: "from facts about an agent to the cause of its trouble",
		Sees: []string{"internal/agent", "internal/fleet", "internal/health", "internal/operation", "internal/queue"}},
	{Path: "internal/alert", Storey: Domain, Purpose: "what is wrong, who is told, and who looks after it",
		Sees: []string{"internal/audit", "internal/metrics"}},
	{Path: "internal/bulk", Storey: Domain, Purpose: "one action on many agents",
		Sees: []string{"internal/agent", "internal/audit", "internal/auth", "internal/fleet", "internal/operation"}},

	{Path: "internal/fleet/process", Storey: Nested, Purpose: "instances as processes of this machine, and their shim"},

	{Path: "internal/fleet/process/cgroup", Storey: Nested, Purpose: "limits by control groups, version 1 and 2"},
	{Path: "internal/fleet/process/segment", Storey: Nested, Purpose: "output of an instance, kept in files that rotate"},
	{Path: "internal/fleet/process/shim", Storey: Nested, Purpose: "the supervisor of one instance",
		Sees: []string{"internal/fleet/process/cgroup", "internal/fleet/process/procfs", "internal/fleet/process/segment"}},
	{Path: "internal/fleet/process/procfs", Storey: Nested, Purpose: "what Linux says of processes"},

	{Path: "internal/store", Storey: Adapter, Purpose: "every Store, on SQLite and PostgreSQL",
		Sees: []string{"internal/store/database", "internal/store/observe"}},
	{Path: "internal/store/database", Storey: Adapter, Purpose: "connections, transactions and dialects of both databases"},
	{Path: "internal/store/observe", Storey: Adapter, Purpose: "the stores of alerts, webhooks, diagnoses, incidents and probe results",
		Sees: []string{"internal/store/database"}},
	{Path: "internal/engine", Storey: Adapter, Purpose: "operation.Engine on DBOS"},
	{Path: "internal/jwt", Storey: Adapter, Purpose: "access tokens as JWTs, and their keys"},
	{Path: "internal/oidc", Storey: Adapter, Purpose: "sign-in with an OpenID Connect provider"},
	{Path: "internal/scrape", Storey: Adapter, Purpose: "metrics.Source on the Prometheus text that instances serve"},
	{Path: "internal/rulefile", Storey: Adapter, Purpose: "rule files of Prometheus, their expressions and templates"},
	{Path: "internal/passkey", Storey: Adapter, Purpose: "sign-in with passkeys"},
	{Path: "internal/bus", Storey: Adapter, Purpose: "queue.Broker on NATS, embedded or outside"},

	{Path: "internal/httpapi", Storey: Edge, Purpose: "the JSON API: its table of routes, and what is done with agents",
		Sees: []string{"internal/httpapi/docs", "internal/httpapi/door", "internal/httpapi/observe"}},
	{Path: "internal/httpapi/door", Storey: Edge, Purpose: "what every request passes: the table's rows, guard, problems, idempotency, lists"},
	{Path: "internal/httpapi/observe", Storey: Edge, Purpose: "the part of the API that tells what happens",
		Sees: []string{"internal/httpapi/door"}},
	{Path: "internal/httpapi/docs", Storey: Edge, Purpose: "the browsable page of the API"},
	{Path: "internal/live", Storey: Edge, Purpose: "rooms and transports of live updates"},
	{Path: "internal/web", Storey: Edge, Purpose: "the pages", Pages: true,
		Sees: []string{"internal/web/assets", "internal/web/components", "internal/web/gallery", "internal/web/view"}},
	{Path: "internal/web/gallery", Storey: Edge, Purpose: "every part of the pages, shown with its use and its states",
		Sees: []string{"internal/web/components", "internal/web/view"}},
	{Path: "internal/web/assets", Storey: Edge, Purpose: "the files that pages load"},
	{Path: "internal/web/components", Storey: Edge, Purpose: "the parts that pages are made of",
		Sees: []string{"internal/web/assets", "internal/web/view"}},
	{Path: "internal/web/view", Storey: Edge, Purpose: "how values are shown, in pages and in live updates"},
	{Path: "internal/cli", Storey: Edge, Purpose: "the command line"},
	{Path: "internal/cli/login", Storey: Edge, Purpose: "sign-in of the command line with a browser"},
	{Path: "internal/cli/client", Storey: Edge, Purpose: "API client generated from the OpenAPI document"},

	{Path: "internal/portal", Storey: Wiring, Purpose: "configuration, and all parts put together"},
	{Path: "cmd/portal", Storey: Main, Purpose: "the program"},

	{Path: "agentkit", Storey: Kit, Purpose: "public kit to write an agent that meets the contract"},
	{Path: "agents", Storey: Agents, Purpose: "the names of the built-in agents"},
	{Path: "agents/blank", Storey: Agents, Purpose: "the smallest agent"},
	{Path: "agents/memory", Storey: Agents, Purpose: "an agent that remembers"},

	{Path: "examples", Storey: Agents, Purpose: "specifications of agents to begin with"},

	{Path: "internal/lifecycle/lifecycletest", Storey: Suite, Purpose: "what every service does between start and stop"},
	{Path: "internal/operation/operationtest", Storey: Suite, Purpose: "an engine in memory, and what every engine does"},
	{Path: "internal/queue/queuetest", Storey: Suite, Purpose: "a broker in memory, and what every broker does"},
	{Path: "internal/oidc/oidctest", Storey: Suite, Purpose: "a real OpenID Connect provider, and a person who signs in there"},
	{Path: "internal/fleet/fleettest", Storey: Suite, Purpose: "a runtime in memory, and what every runtime does"},
	{Path: "internal/store/storetest", Storey: Suite, Purpose: "a fresh store for a test, and what every database must keep"},
	{Path: "internal/store/storetest/postgres", Storey: Suite, Purpose: "a PostgreSQL server for the tests of one binary"},

	{Path: "bench", Storey: Tool, Purpose: "the figures of the targets"},
	{Path: "e2e", Storey: Tool, Purpose: "black-box scripts against the program"},
	{Path: "e2e/browser", Storey: Tool, Purpose: "the pages in a real browser"},
	{Path: "e2e/dex", Storey: Tool, Purpose: "a real OpenID Connect provider for tests, in a module of its own"},
	{Path: "e2e/crash", Storey: Tool, Purpose: "the portal killed at random moments"},
	{Path: "e2e/drive", Storey: Tool, Purpose: "a portal started and spoken to from outside"},
	{Path: "e2e/signin", Storey: Tool, Purpose: "sign-in with the built portal and a real provider"},
	{Path: "internal/arch", Storey: Tool, Purpose: "these rules"},
	{Path: "scripts/assets", Storey: Tool, Purpose: "builds the files that pages load"},
	{Path: "scripts/assets/bundle", Storey: Tool, Purpose: "sources of scripts and styles made into bundles"},
	{Path: "scripts/openapi", Storey: Tool, Purpose: "prints the OpenAPI document for the client generator"},
	{Path: "scripts/testreport", Storey: Tool, Purpose: "summary of a test run"},
}

var libraries = []Library{
	{"github.com/a-h/templ", []string{"internal/web"}},
	{"github.com/andybalholm/brotli", []string{"internal/web", "scripts/assets/bundle"}},
	{"github.com/chromedp", []string{"e2e/browser", "bench"}},
	{"github.com/coreos/go-oidc/v3", []string{"internal/oidc"}},
	{"github.com/fxamacker/cbor/v2", []string{"internal/passkey"}},
	{"github.com/go-jose/go-jose/v4", []string{"internal/oidc", "internal/jwt"}},
	{"golang.org/x/oauth2", []string{"internal/oidc"}},
	{"github.com/coder/websocket", []string{"internal/live"}},
	{"github.com/danielgtaylor/huma/v2", []string{"internal/httpapi"}},
	{"github.com/dbos-inc/dbos-transact-golang", []string{"internal/engine"}},
	{"github.com/evanw/esbuild", []string{"scripts/assets/bundle"}},
	{"github.com/dexidp/dex", []string{"e2e/dex"}},
	{"github.com/go-webauthn/webauthn", []string{"internal/passkey"}},
	{"github.com/google/uuid", []string{"internal/portal", "internal/store", "internal/engine", "agentkit", "agents"}},
	{"github.com/jackc/pgx/v5", []string{"internal/store", "internal/engine"}},
	{"github.com/knadh/koanf", []string{"internal/portal"}},
	{"github.com/nats-io/nats-server/v2", []string{"internal/bus"}},
	{"github.com/nats-io/nats.go", []string{"internal/bus", "agentkit"}},
	{"github.com/nats-io/jwt/v2", []string{"internal/bus"}},
	{"github.com/nats-io/nkeys", []string{"internal/bus"}},
	{"github.com/oapi-codegen/runtime", []string{"internal/cli/client"}},
	{"github.com/pressly/goose/v3", []string{"internal/store"}},
	{"github.com/prometheus/client_golang", []string{"internal/httpapi", "internal/portal", "agentkit"}},
	{"github.com/prometheus/client_model", []string{"internal/scrape"}},
	{"github.com/prometheus/common", []string{"internal/scrape", "internal/rulefile"}},
	{"github.com/prometheus/prometheus", []string{"internal/rulefile"}},
	{"github.com/rogpeppe/go-internal", []string{"e2e"}},
	{"github.com/spf13/cobra", []string{"internal/cli"}},
	{"github.com/spf13/pflag", []string{"internal/cli"}},
	{"github.com/uptrace/bun", []string{"internal/store"}},
	{"go.yaml.in/yaml/v3", []string{"internal/manifest"}},
	{"golang.org/x/crypto/argon2", []string{"internal/auth"}},
	{"golang.org/x/crypto/bcrypt", []string{"e2e/dex"}},
	{"golang.org/x/sync", []string{"internal", "agentkit", "agents"}},
	{"golang.org/x/sys", []string{"internal/fleet/process", "internal/portal"}},
	{"golang.org/x/term", []string{"internal/cli"}},
	{"golang.org/x/text", []string{"internal/agent"}},
	{"golang.org/x/time", []string{"internal/httpapi", "internal/live", "internal/health", "internal/bus"}},
	{"modernc.org/sqlite", []string{"internal/store", "internal/engine", "agents/memory"}},
}

// exceptions suspend a rule in one place, with a reason. The table may only
// shrink: an exception that nothing needs any more fails the test.
var exceptions = []Exception{}
