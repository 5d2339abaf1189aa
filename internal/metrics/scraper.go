package metrics

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waooaw/platform-portal/internal/lifecycle"
)

// ErrNone says that an instance answers, and has no figures of the contract.
var ErrNone = errors.New("no metrics")

// Scraper asks every running instance for its figures, and the queues for what
// waits. One goroutine holds the agenda and a fixed number of workers ask,
// however many instances there are and however many of them hang.
type Scraper struct {
	Targets  Targets
	Source   Source
	Backlogs Backlogs // nil: there are no queues
	Windows  *Windows
	Into     Appender // where samples are stored; nil: nowhere
	// Refused is called when the metrics of an instance begin to be refused, by the
	// worker that asked it. May be nil.
	Refused func(t Target, why Refusal)
	// Changed is called at most once a second with the agents whose figures
	// changed; it must not block. May be nil.
	Changed func(agentIDs []string)
	Log     *slog.Logger  // nil means slog.Default()
	Every   time.Duration // between two questions to one instance; 0 means 15 seconds
	Workers int           // 0 means 16

	mu      sync.Mutex
	agenda  agenda
	visits  map[string]*visit // by instance id
	changed map[string]bool
	budgets map[string]*budget  // of series, by agent id
	about   map[string]Metadata // by metric
	stir    chan struct{}
	once    sync.Once
	loop    lifecycle.Loop

	unstored atomic.Bool
}

const (
	lookEvery  = 5 * time.Second // at what runs
	lookPause  = 500 * time.Millisecond
	queueEvery = 5 * time.Second
	tellEvery  = time.Second
)

// Name is "metrics".
func (s *Scraper) Name() string { return "metrics" }

func (s *Scraper) init() {
	s.once.Do(func() {
		s.visits, s.changed, s.stir = map[string]*visit{}, map[string]bool{}, make(chan struct{}, 1)
		s.budgets, s.about = map[string]*budget{}, map[string]Metadata{}
		if s.Every <= 0 {
			s.Every = 15 * time.Second
		}
		if s.Workers <= 0 {
			s.Workers = 16
		}
		if s.Log == nil {
			s.Log = slog.Default()
		}
	})
}

// Poke says that what runs may have changed.
func (s *Scraper) Poke() {
	s.init()
	select {
	case s.stir <- struct{}{}:
	default:
	}
}

// Start begins to ask.
func (s *Scraper) Start(context.Context) error {
	s.init()
	return s.loop.Go(s.run)
}

// Stop ends all asking.
func (s *Scraper) Stop(ctx context.Context) error { return s.loop.Halt(ctx) }

func (s *Scraper) run(ctx context.Context) {
	jobs, wake := make(chan *visit), make(chan struct{}, 1)
	var wg sync.WaitGroup
	for range s.Workers {
		wg.Go(func() { s.work(ctx, jobs, wake) })
	}
	wg.Go(func() { s.watch(ctx, wake) })
	wg.Go(func() { s.count(ctx) })
	wg.Go(func() { every(ctx, tellEvery, nil, s.tell) })
	s.schedule(ctx, jobs, wake)
	wg.Wait()
}

// every calls do now, after each period, and when stirred.
func every(ctx context.Context, period time.Duration, stir <-chan struct{}, do func()) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-stir:
		}
	}
}

// watch looks at what runs, at most twice a second.
func (s *Scraper) watch(ctx context.Context, wake chan<- struct{}) {
	failing := false
	every(ctx, lookEvery, s.stir, func() {
		targets, err := s.Targets.Targets(ctx)
		if failed := err != nil && ctx.Err() == nil; failed != failing {
			failing = failed
			if failed {
				s.Log.Warn("can't tell what runs, so that nothing new is asked for metrics", "err", err)
			}
		}
		if err == nil {
			s.finish(ctx, s.set(targets))
			nudge(wake)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookPause):
		}
	})
}

func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// set brings the agenda to what runs. It gives the ledgers of what no longer
// does.
func (s *Scraper) set(targets []Target) (gone []*ledger) {
	s.Windows.Watch(targets)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Windows.Now()
	running := make(map[string]bool, len(targets))
	first := len(s.visits) == 0
	for _, t := range targets {
		running[t.InstanceID] = true
		v := s.visits[t.InstanceID]
		if v != nil && v.Run == t.Run && v.Port == t.Port && v.Host == t.Host {
			v.AgentName = t.AgentName
			continue
		}
		book := &ledger{}
		if v != nil {
			s.agenda.drop(v)
			book = v.book
		}
		v = &visit{Target: t, due: now, place: -1, book: book}
		if first && len(targets) > s.Workers {
			v.due = now.Add(s.Every - jitter(s.Every)) // not all at once
		}
		s.visits[t.InstanceID] = v
		heap.Push(&s.agenda, v)
		s.changed[t.AgentID] = true
	}
	for id, v := range s.visits {
		if !running[id] {
			s.agenda.drop(v)
			delete(s.visits, id)
			s.changed[v.AgentID] = true
			gone = append(gone, v.book)
		}
	}
	s.thin()
	return gone
}

// thin forgets what agents that are gone had used of their budgets.
func (s *Scraper) thin() {
	if len(s.budgets) <= 2*len(s.visits)+16 {
		return
	}
	running := map[string]bool{}
	for _, v := range s.visits {
		running[v.AgentID] = true
	}
	for id := range s.budgets {
		if !running[id] {
			delete(s.budgets, id)
		}
	}
}

// schedule hands due visits to the workers.
func (s *Scraper) schedule(ctx context.Context, jobs chan<- *visit, wake <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		v, wait := s.next()
		if v != nil {
			select {
			case jobs <- v:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

// next takes the first due visit, or says how long there is none.
func (s *Scraper) next() (*visit, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.agenda) == 0 {
		return nil, time.Hour
	}
	if wait := s.agenda[0].due.Sub(s.Windows.Now()); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&s.agenda).(*visit), 0
}

func (s *Scraper) work(ctx context.Context, jobs <-chan *visit, wake chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case v := <-jobs:
			target := s.target(v)
			start := time.Now()
			p, err := s.Source.Page(ctx, target)
			if ctx.Err() != nil {
				return
			}
			s.keep(ctx, v, &p, time.Since(start), err)
			s.took(v, p, err)
			nudge(wake)
		}
	}
}

// target gives whom to ask; its name may change meanwhile.
func (s *Scraper) target(v *visit) Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.Target
}

// took keeps an answer and plans the next question.
func (s *Scraper) took(v *visit, p Page, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.gone {
		return
	}
	if err == nil {
		p.Samples, p.Grows, p.About = nil, nil, nil // they are stored elsewhere
		s.Windows.Take(v.Target, p)
		v.missed, v.ever = 0, true
	} else {
		s.Windows.Miss(v.Target, err.Error(), errors.Is(err, ErrNone))
		v.missed++
	}
	s.changed[v.AgentID] = true
	v.due = s.Windows.Now().Add(jitter(v.pause(s.Every)))
	heap.Push(&s.agenda, v)
}

// count looks at what waits in the queues.
func (s *Scraper) count(ctx context.Context) {
	if s.Backlogs == nil {
		return
	}
	failing := false
	before := map[string][3]int{}
	every(ctx, queueEvery, nil, func() {
		all, err := s.Backlogs.Backlogs(ctx)
		if failed := err != nil && ctx.Err() == nil; failed != failing {
			failing = failed
			if failed {
				s.Log.Warn("can't tell what waits in the queues", "err", err)
			}
		}
		if err != nil {
			return
		}
		s.Windows.SetBacklogs(all)
		s.mu.Lock()
		defer s.mu.Unlock()
		now := make(map[string][3]int, len(all))
		for id, q := range all {
			now[id] = [3]int{q.Pending, q.InFlight, q.Dead}
			if now[id] != before[id] {
				s.changed[id] = true
			}
		}
		before = now
	})
}

// tell says whose figures changed.
func (s *Scraper) tell() {
	s.mu.Lock()
	ids := make([]string, 0, len(s.changed))
	for id := range s.changed {
		ids = append(ids, id)
	}
	clear(s.changed)
	s.mu.Unlock()
	if len(ids) > 0 && s.Changed != nil {
		slices.Sort(ids)
		s.Changed(ids)
	}
}
