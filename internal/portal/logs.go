package portal

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/logdb"
	"github.com/waooaw/platform-portal/internal/logs"
)

// Logs says where what agents write is kept, and how long.
type Logs struct {
	URL     string        // external VictoriaLogs; embedded where empty
	Keep    time.Duration // age at which entries are removed
	Most    int64         // bytes of entries above which the oldest are removed
	MinFree int64         // bytes of free disk below which nothing is taken in
}

// collect makes what takes in the output of agents, keeps it, and finds it again.
func (a *app) collect() (err error) {
	a.logStore, err = logdb.New(logdb.Config{
		Dir: filepath.Join(a.cfg.Data, "logs"), URL: a.cfg.Logs.URL, Keep: a.cfg.Logs.Keep, Most: a.cfg.Logs.Most, MinFree: a.cfg.Logs.MinFree, Now: now, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.collector = &logs.Collector{
		Source: output{agents: a.store.Agents(), runtimes: a.runtimes.readers()}, Sink: a.logStore, Cursors: a.logStore, Now: steady, Log: a.log,
	}
	a.logs = logs.NewService(a.logStore, a.collector, now)
	return nil
}

// output is what agents wrote, as their runtimes keep it.
type output struct {
	agents   agent.Store
	runtimes []fleet.LogReader
}

// Agents implements logs.Source.
func (o output) Agents(ctx context.Context) ([]string, error) {
	var ids []string
	q := agent.Query{Limit: 1000, Sort: "id"}
	for {
		page, err := o.agents.Find(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, one := range page.Agents {
			ids = append(ids, one.ID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return ids, nil
		}
	}
}

// Read implements logs.Source.
func (o output) Read(ctx context.Context, agentID, after string, fn func(logs.Line) error) error {
	for _, r := range o.runtimes {
		err := r.ReadLogs(ctx, fleet.LogQuery{AgentID: agentID, After: after}, func(l fleet.LogLine) error {
			return fn(logs.Line{At: l.At, Instance: l.Instance, Stream: l.Stream, Text: l.Text, Cursor: l.Cursor})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// logsWell tells whether what agents write can be taken in.
func (a *app) logsWell(ctx context.Context) error {
	if st := a.logs.Status(ctx); st.Problem != "" {
		return fault.New(fault.Unavailable, "logs.problem", "%s", st.Problem).Do("%s", st.Remedy)
	}
	return nil
}

// size reads a number of bytes such as 512MiB or 5GiB.
func size(field func(*Config) *int64) func(*Config, string) error {
	return func(c *Config, v string) error {
		text, unit := v, int64(1)
		for i, suffix := range []string{"KiB", "MiB", "GiB", "TiB"} {
			if number, ok := strings.CutSuffix(v, suffix); ok {
				text, unit = strings.TrimSpace(number), int64(1)<<(10*(i+1))
			}
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 || n > (1<<62)/unit {
			return fmt.Errorf("%q is not a number of bytes such as 512MiB or 5GiB", v)
		}
		*field(c) = n * unit
		return nil
	}
}
