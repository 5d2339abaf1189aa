package portal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery"
)

// How much of each list is in a support bundle.
const (
	bundledOperations = 200
	bundledEvents     = 1000
	bundledAgents     = 1000
	bundledErrors     = 200
)

// bundle packs what somebody who helps needs to see.
type bundle struct {
	*app
	started time.Time
}

// Write implements observe.SupportBundle. That it was taken is on record.
func (b bundle) Write(ctx context.Context, w io.Writer) error {
	if err := b.audit.Record(ctx, "diagnostic.bundle", "portal", audit.Done, "", nil, nil); err != nil {
		return err
	}
	return diagnosis.Bundle{Sections: b.sections(), Secrets: b.secrets, Now: now}.Write(ctx, w)
}

func (b bundle) sections() []diagnosis.Section {
	return []diagnosis.Section{
		{Name: "versions.json", Content: diagnosis.JSON(b.versions)},
		{Name: "configuration.json", Content: diagnosis.JSON(b.configuration)},
		{Name: "diagnostics.json", Content: diagnosis.JSON(b.diagnoses)},
		{Name: "operations.json", Content: diagnosis.JSON(b.lastOperations)},
		{Name: "errors.json", Content: diagnosis.JSON(b.errors)},
		{Name: "events.json", Content: diagnosis.JSON(b.lastEvents)},
		{Name: "agents.json", Content: diagnosis.JSON(b.specs)},
		{Name: "instances.json", Content: diagnosis.JSON(func(ctx context.Context) (any, error) { return b.fleet.Instances(ctx) })},
		{Name: "portal.log", Content: func(context.Context) ([]byte, error) { return b.ownLog.Text(), nil }},
		{Name: "goroutines.txt", Content: goroutines},
	}
}

func (b bundle) versions(context.Context) (any, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return map[string]any{
		"portal": b.build.Version, "commit": b.build.Commit, "date": b.build.Date, "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH,
		"cpus": runtime.NumCPU(), "goroutines": runtime.NumGoroutine(), "heap_bytes": m.HeapAlloc, "system_bytes": m.Sys,
		"started_at": b.started.UTC(), "now": now(),
	}, nil
}

// configuration is what is in force, without what is secret.
func (b bundle) configuration(context.Context) (any, error) {
	type setting struct {
		Value  string `json:"value"`
		Source string `json:"source"`
	}
	out := map[string]setting{}
	for _, v := range b.cfg.values {
		value := v.Value
		if v.Secret && value != "" {
			value = diagnosis.Hidden
		}
		out[v.Key] = setting{value, v.Source}
	}
	return out, nil
}

// diagnoses are the portal as it is now, and what was found before.
func (b bundle) diagnoses(ctx context.Context) (any, error) {
	found := diagnosis.Look(ctx, b.diagnosis.Checks, diagnosis.Portal, diagnosis.Subject{}, now, b.log)
	earlier, _, err := b.diagnosis.History(ctx, diagnosis.Query{Limit: 100})
	return map[string]any{"now": found, "earlier": earlier}, err
}

func (b bundle) lastOperations(ctx context.Context) (any, error) {
	list, _, err := b.store.Operations().Find(ctx, operation.Query{Limit: bundledOperations})
	return list, err
}

// errors are what went wrong last, as the page of errors shows it, the operations
// that failed last, and the agents that do not work.
func (b bundle) errors(ctx context.Context) (any, error) {
	incidents, _, err := b.recovery.List(ctx, recovery.Query{Limit: bundledErrors})
	if err != nil {
		return nil, err
	}
	failed, _, err := b.store.Operations().Find(ctx, operation.Query{States: []operation.State{operation.Failed}, Limit: bundledOperations})
	if err != nil {
		return nil, err
	}
	broken := map[string]*agent.Failure{}
	page, err := b.store.Agents().Find(ctx, agent.Query{States: []agent.State{agent.Errored}, Limit: bundledAgents})
	for _, a := range page.Agents {
		broken[a.ID] = a.Failure
	}
	return map[string]any{"errors": incidents, "failed_operations": failed, "errored_agents": broken}, err
}

func (b bundle) lastEvents(ctx context.Context) (any, error) {
	return b.store.Events().Find(ctx, event.Query{Newest: true, Limit: bundledEvents})
}

// specs are the agents without the values of their environment.
func (b bundle) specs(ctx context.Context) (any, error) {
	page, err := b.store.Agents().Find(ctx, agent.Query{Limit: bundledAgents})
	for _, a := range page.Agents {
		a.Spec.Env = maps.Clone(a.Spec.Env)
		for name := range a.Spec.Env {
			a.Spec.Env[name] = diagnosis.Hidden
		}
	}
	return map[string]any{"total": page.Total, "agents": page.Agents}, err
}

func goroutines(context.Context) ([]byte, error) {
	var out bytes.Buffer
	err := pprof.Lookup("goroutine").WriteTo(&out, 1)
	return out.Bytes(), err
}

// secrets gives every secret that the portal can know of: those of its settings,
// in addresses, in the environments of agents, behind references, its own keys
// and the agents' credentials.
func (b bundle) secrets(ctx context.Context) ([]string, error) {
	var out []string
	for _, v := range b.cfg.values {
		if v.Secret {
			out = append(out, v.Value)
		}
		if u, err := url.Parse(v.Value); err == nil && u.User != nil {
			password, _ := u.User.Password()
			out = append(out, password)
		}
	}
	for _, e := range os.Environ() {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, "PORTAL_SECRET_") {
			out = append(out, value)
		}
	}
	files, err := secretFiles(b.cfg)
	if err != nil {
		return nil, err
	}
	out = append(out, files...)
	agents, err := b.agentSecrets(ctx)
	return append(out, agents...), err
}

// secretFiles gives what is in the files of the secrets directory, and the
// master key.
func secretFiles(cfg Config) ([]string, error) {
	var out []string
	list, err := os.ReadDir(cfg.SecretsDir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read the secrets directory: %w", err)
	}
	source := fleet.SecretDir{Dir: cfg.SecretsDir}
	for _, entry := range list {
		// What can't be read as a secret is none for the portal either.
		if value, err := source.Secret(context.Background(), "file:"+entry.Name()); err == nil {
			out = append(out, value)
		}
	}
	if key, err := os.ReadFile(filepath.Join(cfg.Data, keyFile)); err == nil {
		out = append(out, string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key))
	}
	return out, nil
}

// plainValue is the longest value of an agent's environment that is not looked
// for in other texts; it is hidden where it stands all the same.
const plainValue = 7

// agentSecrets gives the values of the agents' environments, in all revisions
// that are in the bundle, and their credentials.
func (b bundle) agentSecrets(ctx context.Context) ([]string, error) {
	var out, public []string
	for cursor := ""; ; {
		page, err := b.store.Agents().Find(ctx, agent.Query{Limit: 1000, Cursor: cursor, Sort: "id"})
		if err != nil {
			return nil, err
		}
		for _, a := range page.Agents {
			public = append(public, a.ID, a.Spec.Name)
			specs := []agent.Spec{a.Spec}
			if a.DeployedRevision != 0 && a.DeployedRevision != a.Revision {
				rev, err := b.store.History().Revision(ctx, a.ID, a.DeployedRevision)
				if err != nil {
					return nil, err
				}
				specs = append(specs, rev.Spec)
			}
			for _, spec := range specs {
				for _, v := range spec.Env {
					if len(v) > plainValue {
						out = append(out, v)
					}
				}
			}
			secret, err := b.keys.Secret(ctx, a.ID)
			if err != nil && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Conflict) {
				return nil, err
			}
			out = append(out, secret)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	// The name of another agent in an environment is no secret.
	return slices.DeleteFunc(out, func(v string) bool { return slices.Contains(public, v) }), nil
}

// keptLog is how many bytes of its own log a portal keeps for a support bundle.
const keptLog = 1 << 20

// recent keeps the last lines that were written to it. It is safe for
// concurrent use.
type recent struct {
	mu   sync.Mutex
	text []byte
}

// Write keeps the end of what was written so far.
func (r *recent) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, p...)
	if len(r.text) > 2*keptLog { // seldom, so that most writes copy nothing else
		r.text = append(make([]byte, 0, 2*keptLog), r.tail()...)
	}
	return len(p), nil
}

// tail is what is kept, from the beginning of a line on.
func (r *recent) tail() []byte {
	text := r.text
	if len(text) > keptLog {
		text = text[len(text)-keptLog:]
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
	}
	return text
}

// Text gives a copy of what is kept.
func (r *recent) Text() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.tail())
}
