// Command bench measures the built portal on this machine and prints one table:
// figure, value, target, and the command that gives the row alone.
//
//	go run ./bench -bin bin/portal            every figure
//	go run ./bench -bin bin/portal -only fleet,crash
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// figure is one row of the table.
type figure struct {
	name, value, target, group string
}

// bench is what every group of measurements gets.
type bench struct {
	bin, root, dir string
	agents, all    int
	labSeeds       int
	lines          int
	writtenFor     time.Duration
	kills, deploys int
	rows           []figure
	portals        []*drive.Portal
	group          string
}

func (b *bench) row(name, target, value string, args ...any) {
	f := figure{name: name, value: fmt.Sprintf(value, args...), target: target, group: b.group}
	b.rows = append(b.rows, f)
	fmt.Fprintf(os.Stderr, "  %s: %s (target %s)\n", f.name, f.value, f.target)
}

// portal gives a fresh portal on its own directory.
func (b *bench) portal(name string, args ...string) (*drive.Portal, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p, err := drive.New(b.bin, dir, args...)
	if err == nil {
		b.portals = append(b.portals, p)
	}
	return p, err
}

// clear ends what a group that failed has left running.
func (b *bench) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, p := range b.portals {
		if p.Up() {
			if err := b.retire(ctx, p); err != nil {
				fmt.Fprintln(os.Stderr, "  left running:", err)
			}
		}
	}
	b.portals = nil
}

type group struct {
	name, what string
	run        func(ctx context.Context, b *bench) error
}

var groups = []group{
	{"start", "time to serve an existing data directory, and what an idle portal holds", measureStart},
	{"fleet", "import to ready of the 14 agents", measureFleet},
	{"recovery", "return of instances that were killed or hang", measureRecovery},
	{"crash", "return of everything after kill -9 of the portal under load", measureCrash},
	{"mutation", "changes of a spec over HTTP", measureMutation},
	{"live", "an event until 200 clients have it", measureLive},
	{"views", "pages that look at rows while these change, up to 2,000", measureViews},
	{"return", "pages after the portal was started anew", measureReturn},
	{"web", "pages in a real browser", measureWeb},
	{"scale", "a large fleet: starting, reading and resting", measureScale},
	{"lab", "the fault laboratory, suggesting and automatic", measureLab},
	{"metrics", "scraping and storing 1,000 agents, and charts of one", measureMetrics},
	{"logs", "reading from 10 million lines, and taking in 20,000 a second", measureLogs},
	{"alerts", "a failure until it is an alert, and rules over 1,000 agents", measureAlerts},
	{"context", "switching the context on every page", measureContext},
	{"docker", "the 14 agents in containers, and the return of one that crashed", measureDocker},
	{"docker-kills", "what is left after kill -9 of the portal while containers change", measureDockerKills},
	{"kubernetes", "the 14 agents in pods, and the return of a container that crashed", measureKubernetes},
	{"kubernetes-kills", "what is left after kill -9 of the portal while pods change", measureKubernetesKills},
	{"kubernetes-scale", "1,000 agents on simulated nodes", measureKubernetesScale},
	{"deployments", "revision after revision on processes and in containers", measureDeployments},
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == writeLines {
		fmt.Fprintln(os.Stderr, write(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	bin := flag.String("bin", "bin/portal", "the built portal")
	only := flag.String("only", "", "groups to measure, separated by commas; all where empty")
	agents := flag.Int("running", 1000, "running agents in the group scale")
	all := flag.Int("all", 10000, "agents in all in the group scale")
	seeds := flag.Int("lab-seeds", 3, "runs of each fault in the group lab")
	lines := flag.Int("lines", 10_000_000, "lines in the log store in the group logs; 0 leaves that part out")
	writtenFor := flag.Duration("written-for", time.Minute, "how long 20,000 lines a second are written in the group logs")
	kills := flag.Int("kills", 100, "times that the portal is killed in the groups docker-kills and kubernetes-kills")
	deploys := flag.Int("deploys", 1000, "deployments on processes in the group deployments; a fifth of it in containers")
	list := flag.Bool("list", false, "say what the groups measure, and end")
	flag.Parse()
	if *list {
		for _, g := range groups {
			fmt.Printf("%-16s %s\n", g.name, g.what)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &bench{bin: *bin, agents: *agents, all: *all, labSeeds: *seeds, lines: *lines, writtenFor: *writtenFor, kills: *kills, deploys: *deploys}, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *bench, only string) (err error) {
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if b.root, err = os.Getwd(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "portal-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	failed := false
	for _, g := range groups {
		if only != "" && !slices.Contains(strings.Split(only, ","), g.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring", g.name)
		b.group = g.name
		began := time.Now()
		limit, cancel := context.WithTimeout(ctx, time.Duration(max(30, 6*b.labSeeds))*time.Minute)
		if err := g.run(limit, b); err != nil {
			fmt.Fprintf(os.Stderr, "  %s: %v\n", g.name, err)
			b.row(g.name, "", "not measured: %s", strings.SplitN(err.Error(), "\n", 2)[0])
			failed = true
		}
		cancel()
		b.clear()
		fmt.Fprintf(os.Stderr, "  %s took %s\n", g.name, time.Since(began).Round(time.Second))
	}
	b.print()
	if failed {
		return fmt.Errorf("some figures could not be measured")
	}
	return nil
}

func (b *bench) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tVALUE\tTARGET\tCOMMAND")
	for _, f := range b.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\tgo run ./bench -only %s\n", f.name, f.value, f.target, f.group)
	}
	_ = w.Flush()
}

// spread is the distribution of some durations.
type spread []time.Duration

// at gives the quantile q of the sorted durations.
func (s spread) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (s spread) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, max %s (n=%d)", round(s.at(.5)), round(s.at(.99)), round(s.at(1)), len(s))
}

func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// timed measures one call.
func timed(fn func() error) (time.Duration, error) {
	start := time.Now()
	err := fn()
	return time.Since(start), err
}
