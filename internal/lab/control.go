package lab

import (
	"context"
	"errors"
	"time"
)

// control watches an agent that nothing is wrong with, though some of it may
// look as if there were. Whatever the portal does to it is harm.
func (l *Lab) control(ctx context.Context, s *scene, o *Outcome) error {
	var during func(ctx context.Context) error
	switch s.rng.IntN(6) {
	case 0:
		s.note("%s, calm", s.voice)
	case 1:
		s.note("%s, talks of trouble that it had and got over", s.voice)
		during = func(ctx context.Context) error { return s.misbehave(ctx, "mutter", nil) }
	case 2:
		s.note("busy with 120 short tasks")
		during = func(ctx context.Context) error {
			for range 120 {
				if err := s.p.task(ctx, s.name, map[string]any{"type": "work", "payload": map[string]any{"for": "30ms"}}); err != nil {
					return err
				}
			}
			return nil
		}
	case 3:
		s.note("restarted by a person")
		during = func(ctx context.Context) error {
			_, err := s.p.act(ctx, s.name, "restart")
			return err
		}
	case 4:
		s.note("a new revision that works")
		during = func(ctx context.Context) error {
			return s.redeploy(ctx, map[string]any{"version": "1.0.1", "env": map[string]any{"NOTE": "new"}})
		}
	default:
		s.note("uses half of its memory")
		s.spec["resources"] = map[string]any{"memory": "160Mi"}
		during = func(ctx context.Context) error {
			return s.misbehave(ctx, "leak", map[string]any{"mib": 48, "step": 8, "every": "50ms"})
		}
	}
	if err := s.up(ctx); err != nil {
		return err
	}
	if err := l.setMode(ctx, s.name, l.mode()); err != nil {
		return err
	}
	if during != nil {
		if err := during(ctx); err != nil {
			return err
		}
	}
	if ok, err := until(ctx, mending, s.well); err != nil || !ok {
		return errors.Join(errors.New("the control is not well"), err)
	}
	before, err := l.portal.agent(ctx, s.name)
	if err != nil {
		return err
	}
	pause(ctx, l.cfg.Watch)
	return l.harm(ctx, s, o, before)
}

// harm lists what was done or said of the control that should not have been.
func (l *Lab) harm(ctx context.Context, s *scene, o *Outcome, before view) error {
	after, err := l.portal.agent(ctx, s.name)
	if err != nil {
		return err
	}
	list, err := l.portal.records(ctx, s.name)
	if err != nil {
		return err
	}
	ops, err := l.portal.operations(ctx, s.name)
	if err != nil {
		return err
	}
	for i, r := range list {
		if i == 0 {
			o.Class, o.Cause, o.Title = r.Class, r.Cause, r.Title
		} else {
			o.Others = append(o.Others, r.Cause)
		}
	}
	for _, op := range ops {
		if op.Actor != ops[len(ops)-1].Actor { // the first is the lab's own
			o.Harm = append(o.Harm, op.Kind+" by "+op.Actor)
		}
	}
	if after.Revision != before.Revision {
		o.Harm = append(o.Harm, "its specification was changed")
	}
	if after.runs() != before.runs() {
		o.Harm = append(o.Harm, "it was restarted")
	}
	o.Well = after.well()
	o.Noticed = time.Duration(0)
	return nil
}
