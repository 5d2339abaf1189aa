package fleet

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// observe asks all runtimes for what is on them of the agent. One where it is not
// meant to run must not keep it from running: it is asked for a moment only, and not
// at all while it does not answer.
func (r *Reconciler) observe(ctx context.Context, v *view) error {
	others, cancel := context.WithTimeout(ctx, r.patience())
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	note := func(list []placed, err error, own bool) {
		mu.Lock()
		defer mu.Unlock()
		v.seen = append(v.seen, list...)
		if own || v.rt == nil {
			failed = cmp.Or(failed, err)
		}
	}
	for name, rt := range r.Service.Runtimes {
		own := rt == v.rt
		if own {
			r.mu.Lock()
			r.place[v.id] = name
			r.mu.Unlock()
		} else if r.isSilent(name) {
			if v.rt == nil {
				note(nil, silent(rt, r.patience()), own)
			}
			continue
		}
		wg.Go(func() {
			asked := others
			if own {
				asked = ctx
			}
			list, err := rt.Observe(asked, v.id)
			if err != nil && !own && others.Err() != nil && ctx.Err() == nil {
				r.heard(name, false)
				err = silent(rt, r.patience())
			}
			seen := make([]placed, len(list))
			for i, in := range list {
				seen[i] = placed{in, rt}
			}
			note(seen, unreachable(rt, err), own)
		})
	}
	wg.Wait()
	return failed
}

// placeOf gives the runtime of an agent; "" if it is not known yet.
func (r *Reconciler) placeOf(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.place[id]
}

// assign finds out on which runtime an agent is of which nothing is known yet; false
// if it is on none that could keep it waiting.
func (r *Reconciler) assign(ctx context.Context, id string) bool {
	s := r.Service
	a, err := s.Agents.Get(ctx, id)
	if err != nil || a.ID != id || a.DeployedRevision == 0 {
		return false
	}
	spec, err := s.spec(ctx, a, a.DeployedRevision)
	name := s.hosted(spec)
	if err != nil || name == "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.place[id] = name
	return true
}

func (r *Reconciler) patience() time.Duration { return cmp.Or(r.Patience, 3*time.Second) }

// look is a question to a runtime what is on it.
type look struct {
	done chan struct{} // closed once the answer is here
	list []Instance
	err  error
}

// look asks all runtimes at once what is on them, and waits for none longer than
// its patience. What comes later counts the next time: whoever differs by it is
// looked at anew in any case.
func (r *Reconciler) look(ctx context.Context) (seen map[string][]Instance, away map[string]bool, errs []error) {
	seen, away = map[string][]Instance{}, map[string]bool{}
	asked := map[string]*look{}
	for name, rt := range r.Service.Runtimes {
		asked[name] = r.ask(ctx, name, rt)
	}
	patience := time.NewTimer(r.patience())
	defer patience.Stop()
	late := false
	for name, l := range asked {
		if !late {
			select {
			case <-l.done:
			case <-patience.C:
				late = true
			case <-ctx.Done():
				late = true
			}
		}
		answered := false
		select {
		case <-l.done:
			answered = true
		default:
		}
		r.heard(name, answered)
		switch {
		case !answered:
			away[name] = true
			errs = append(errs, silent(r.Service.Runtimes[name], r.patience()))
		case l.err != nil:
			away[name] = true
			errs = append(errs, unreachable(r.Service.Runtimes[name], l.err))
		}
		if !away[name] {
			for _, in := range l.list {
				seen[in.AgentID] = append(seen[in.AgentID], in)
			}
		}
	}
	return seen, away, errs
}

// ask gives the question to the runtime that is under way, or a new one.
func (r *Reconciler) ask(ctx context.Context, name string, rt Runtime) *look {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.looks[name]; l != nil {
		return l
	}
	l := &look{done: make(chan struct{})}
	r.looks[name] = l
	r.asking.Go(func() {
		defer close(l.done)
		l.list, l.err = rt.Observe(ctx, "")
	})
	return l
}

// heard notes whether the runtime answers in time.
func (r *Reconciler) heard(name string, in bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in {
		delete(r.looks, name)
		delete(r.silent, name)
		return
	}
	r.silent[name] = true
}

func (r *Reconciler) isSilent(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent[name]
}
