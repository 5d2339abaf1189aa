// Package lab is the fault laboratory: it lets real things go wrong with
// sacrificial agents of a running portal, and looks whether the portal says what
// it is, whether its first suggestion repairs it, and whether it leaves healthy
// agents alone. It knows the portal by its API alone.
package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Config says what is examined, and how.
type Config struct {
	URL   string // of the portal
	Token string // of an administrator: policies are set for the lab's own agents
	// Self is the command that runs the sacrificial agent, on the portal's machine.
	Self []string
	// Faults are names of faults, and "healthy" for controls; empty means all.
	Faults []string
	// Seeds vary each fault; one run for each.
	Seeds []int64
	// Automatic lets the portal repair by itself; otherwise the lab takes the first
	// suggestion.
	Automatic bool
	// Parallel is how many agents suffer at a time; default 3.
	Parallel int
	// Patience is how long the portal may take to notice; default 45s.
	Patience time.Duration
	// Watch is how long a control is watched; default 20s.
	Watch time.Duration
	// Tag keeps the agents of several runs apart; made up where left out.
	Tag string
	// HTTP reaches the portal; nil means a client of its own.
	HTTP *http.Client
	// Done is told of each outcome as it comes.
	Done func(Outcome)
}

// Outcome is what came of one fault with one seed.
type Outcome struct {
	Fault  string `json:"fault"`
	Seed   int64  `json:"seed"`
	Detail string `json:"detail"` // what the seed chose
	// Skipped says what this machine lacks for the fault; then nothing else counts.
	Skipped string `json:"skipped,omitempty"`
	// Failed says why the lab could not do the run; then nothing else counts.
	Failed string `json:"failed,omitempty"`

	WantClass string   `json:"want_class,omitempty"`
	Class     string   `json:"class"` // found; none where there was no record
	Cause     string   `json:"cause"`
	Title     string   `json:"title,omitempty"`
	Others    []string `json:"others,omitempty"` // causes of further records
	Early     []string `json:"early,omitempty"`  // causes of records before anything was wrong

	Noticed   time.Duration `json:"noticed_ns,omitempty"`   // fault to record
	Suggested time.Duration `json:"suggested_ns,omitempty"` // what the record goes back to, to its suggestion
	Recovered time.Duration `json:"recovered_ns,omitempty"` // fault to well again

	Offered []string `json:"offered,omitempty"` // suggestions in order; * needs nothing filled in

	Fix   string   `json:"fix,omitempty"` // that was taken
	Well  bool     `json:"well"`          // the agent was well afterwards, and stayed so
	Ended string   `json:"ended,omitempty"`
	Harm  []string `json:"harm,omitempty"` // done to an agent that nothing was wrong with
}

// Lab runs faults against one portal.
type Lab struct {
	cfg    Config
	portal *portal
	self   []string
	dir    string
	policy sync.Mutex
	// lacks are the limits that the portal's machine can't enforce, and why.
	lacks map[string]string
}

// New checks the configuration. Faults: Invalid, NotFound for unknown names.
func New(cfg Config) (*Lab, error) {
	if len(cfg.Self) == 0 || len(cfg.Seeds) == 0 {
		return nil, fault.New(fault.Invalid, "lab.config", "The laboratory has nothing to do").Do("Give at least one seed.")
	}
	for _, name := range cfg.Faults {
		if _, ok := Find(name); !ok && name != Healthy {
			return nil, fault.New(fault.NotFound, "lab.unknown_fault", "There is no fault %q", name).
				Do("Use some of: %s.", strings.Join(Names(), ", "))
		}
	}
	if len(cfg.Faults) == 0 {
		cfg.Faults = Names()
	}
	def(&cfg.Parallel, 3)
	def(&cfg.Patience, 45*time.Second)
	def(&cfg.Watch, 20*time.Second)
	def(&cfg.Tag, fmt.Sprintf("%x", time.Now().UnixMilli()&0xfffffff))
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: 2 * time.Minute}
	}
	return &Lab{cfg: cfg, self: cfg.Self, portal: &portal{url: strings.TrimRight(cfg.URL, "/"), token: cfg.Token, http: cfg.HTTP}}, nil
}

func def[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Names are the faults and the controls.
func Names() []string {
	out := make([]string, 0, len(Faults)+1)
	for _, f := range Faults {
		out = append(out, f.Name)
	}
	return append(out, Healthy)
}

// Run runs every fault with every seed. An error means that the portal could
// not be examined at all.
func (l *Lab) Run(ctx context.Context) (*Report, error) {
	var me struct{ Role string }
	if err := l.portal.call(ctx, http.MethodGet, "/auth/me", nil, &me); err != nil {
		return nil, fault.New(fault.Unavailable, "lab.portal", "The portal can't be examined").Because("%v", err).
			Do("Check its address and the token.")
	}
	if err := l.look(ctx); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "portal-lab")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	l.dir = dir
	var mu sync.Mutex
	var all []Outcome
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(l.cfg.Parallel)
	for _, seed := range l.cfg.Seeds {
		for _, name := range l.cfg.Faults {
			group.Go(func() error {
				o := l.one(ctx, name, seed)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, o)
				if l.cfg.Done != nil {
					l.cfg.Done(o)
				}
				return ctx.Err()
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	order := Names()
	slices.SortFunc(all, func(a, b Outcome) int {
		if d := slices.Index(order, a.Fault) - slices.Index(order, b.Fault); d != 0 {
			return d
		}
		return int(a.Seed - b.Seed)
	})
	return newReport(all, l.cfg.Automatic), nil
}

// look finds out which limits the portal can enforce.
func (l *Lab) look(ctx context.Context) error {
	var health struct {
		Runtimes []struct {
			Checks []struct {
				Name string `json:"name"`
				OK   bool   `json:"ok"`
				Why  string `json:"why"`
			} `json:"checks"`
		} `json:"runtimes"`
	}
	if err := l.portal.call(ctx, http.MethodGet, "/health", nil, &health); err != nil {
		return err
	}
	l.lacks = map[string]string{}
	for _, rt := range health.Runtimes {
		for _, c := range rt.Checks {
			if !c.OK {
				l.lacks[c.Name] = c.Why
			}
		}
	}
	return nil
}

// one runs one fault with one seed and removes what it made.
func (l *Lab) one(ctx context.Context, name string, seed int64) Outcome {
	s := l.newScene(name, seed, l.cfg.Tag)
	o := Outcome{Fault: name, Seed: seed, Class: None, Cause: None}
	f, _ := Find(name)
	o.WantClass = f.Class
	if why, lacks := l.lacks[f.Needs]; lacks {
		o.Skipped = f.Needs + " can't be enforced here: " + why
		return o
	}
	err := l.play(ctx, s, f, &o)
	// What was made is removed even if nobody waits for it any more.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
	defer cancel()
	err = errors.Join(err, s.down(clean), l.setMode(clean, s.name, ""))
	o.Detail = s.detail
	if err != nil {
		o.Failed = err.Error()
	}
	return o
}

// mode is how far recovery may go with the lab's agents.
func (l *Lab) mode() string {
	if l.cfg.Automatic {
		return "automatic"
	}
	return "suggest"
}

// calm is how long an agent runs well before something happens to it.
const calm = 6 * time.Second

func (l *Lab) play(ctx context.Context, s *scene, f Fault, o *Outcome) error {
	if f.set == nil {
		return l.control(ctx, s, o)
	}
	if err := f.set(s); err != nil {
		return err
	}
	if err := s.up(ctx); err != nil {
		return err
	}
	if err := l.setMode(ctx, s.name, l.mode()); err != nil {
		return err
	}
	// Nobody changes or loads an agent the moment it is up.
	pause(ctx, calm)
	earlier, err := l.portal.records(ctx, s.name)
	if err != nil {
		return err
	}
	for _, r := range earlier {
		o.Early = append(o.Early, r.Cause)
	}
	begun := time.Now()
	if err := s.inject(ctx); err != nil {
		return err
	}
	if l.cfg.Automatic {
		return l.watchRepair(ctx, s, o, begun)
	}
	return l.takeSuggestion(ctx, s, o, begun)
}

// setMode says how far recovery may go with one agent; "" takes that back. A
// portal without recovery has no modes.
func (l *Lab) setMode(ctx context.Context, agentID, mode string) error {
	l.policy.Lock()
	defer l.policy.Unlock()
	var p struct {
		Default string            `json:"default"`
		Agents  map[string]string `json:"agents"`
		Limits  map[string]any    `json:"limits"`
	}
	err := l.portal.call(ctx, http.MethodGet, "/recovery/policies", nil, &p)
	if statusOf(err) == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	agents := map[string]string{}
	maps.Copy(agents, p.Agents)
	delete(agents, agentID)
	if mode != "" {
		agents[agentID] = mode
	}
	if maps.Equal(agents, p.Agents) {
		return nil
	}
	return l.portal.call(ctx, http.MethodPut, "/recovery/policies", map[string]any{"default": p.Default, "agents": agents, "limits": p.Limits}, nil)
}
