package fleet

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/cargo"
)

// carries refuses a move with data where one of both runtimes can't carry it, and
// tells whether instances have volumes of their own on one of them. Runtimes are
// asked, so it is not for transactions.
func (s *Service) carries(ctx context.Context, id string, opt MoveOptions) (own bool, err error) {
	if !opt.CopyData {
		return false, nil
	}
	a, err := s.Agents.Get(ctx, id)
	if err != nil {
		return false, err
	}
	if a.DeployedRevision == 0 {
		return false, nil // which is refused where its state is looked at
	}
	spec, err := s.spec(ctx, a, a.DeployedRevision)
	if err != nil {
		return false, err
	}
	for _, name := range []string{runtimeName(spec), opt.Runtime} {
		rt, ok := s.Runtimes[name]
		if !ok {
			continue // likewise
		}
		c, err := carrier(rt)
		if err != nil {
			return false, err
		}
		apart, err := c.Carries(ctx)
		if err != nil {
			return false, unreachable(rt, err)
		}
		own = own || apart
	}
	return own, nil
}

func carrier(rt Runtime) (Carrier, error) {
	if c, ok := rt.(Carrier); ok {
		return c, nil
	}
	return nil, fault.New(fault.Invalid, "move.no_copy", "The runtime %s can't give or take the content of volumes", rt.Name()).
		Do("Move the agent without its data.").At(fault.Field{Path: "copy_data", Message: "must be false for this runtime"})
}

// mayCarry refuses to make one content of several, or several of one.
func mayCarry(id string, was, is agent.Spec, opt MoveOptions, own bool) error {
	if n := max(was.Replicas, is.Replicas); opt.CopyData && own && n > 1 {
		return fault.New(fault.Invalid, "move.no_copy", "The content of the volumes of %s can't go along", id).
			Because("it has %d instances, which share their volumes on one of both runtimes and have each their own on the other", n).
			Do("Move it with one instance, or without its data.").At(fault.Field{Path: "copy_data", Message: "must be false for more than one instance"})
	}
	return nil
}

// hasVolume tells whether a specification has the volume.
func hasVolume(spec agent.Spec, name string) bool {
	for _, v := range spec.Volumes {
		if v.Name == name {
			return true
		}
	}
	return false
}

// shared names the volumes that both specifications have.
func shared(was, is agent.Spec) []string {
	list := []string{DataVolume}
	for _, v := range is.Volumes {
		if hasVolume(was, v.Name) {
			list = append(list, v.Name)
		}
	}
	return list
}

// carried says for people which those are.
func carried(was, is agent.Spec) []string {
	list := shared(was, is)
	for i, name := range list {
		list[i] = volumeName(name)
	}
	return list
}

func volumeName(name string) string {
	if name == DataVolume {
		return "its data directory"
	}
	return "the volume " + name
}

// copyVolumes brings the content of the volumes from the runtime that the agent comes
// from. It is the same when it is done again: a volume is emptied first.
func (j *job) copyVolumes(ctx context.Context) error {
	old, err := j.before(ctx)
	if err != nil {
		return err
	}
	from, err := old.hold(ctx)
	if err != nil {
		return err
	}
	to, err := j.hold(ctx)
	if err != nil {
		return err
	}
	var done []string
	for _, volume := range shared(old.spec, j.spec) {
		tally, err := copyVolume(ctx, from, to, volume)
		if err != nil {
			return notCopied(j.a.ID, volume, err)
		}
		done = append(done, volumeName(volume)+": "+tally.String())
		j.detail(ctx, "%s", brief(done, 10))
	}
	return nil
}

// hold is what an agent has on one runtime.
type hold struct {
	Carrier
	launch Launch
}

func (j *job) hold(ctx context.Context) (*hold, error) {
	c, err := carrier(j.rt)
	if err != nil {
		return nil, err
	}
	o, err := j.outfit(ctx, j.a, j.spec, j.in.Revision)
	if err != nil {
		return nil, err
	}
	port, _ := j.ports() // any will do: nothing is run
	h := &hold{Carrier: c}
	h.launch, err = o.launch(0, port)
	return h, err
}

// survey says what a volume holds.
func (h *hold) survey(ctx context.Context, volume string) (tally cargo.Tally, err error) {
	err = piped(func(w io.Writer) error { return h.PackVolume(ctx, h.launch, volume, w) }, func(r io.Reader) (err error) {
		tally, err = cargo.Survey(r)
		return err
	})
	return tally, err
}

// copyVolume copies one volume. What there is is known before anything is written,
// and what was written is read again and compared.
func copyVolume(ctx context.Context, from, to *hold, volume string) (sent cargo.Tally, err error) {
	there, err := from.survey(ctx, volume)
	if err != nil {
		return sent, err
	}
	err = piped(func(w io.Writer) error {
		return piped(func(w io.Writer) error { return from.PackVolume(ctx, from.launch, volume, w) }, func(r io.Reader) (err error) {
			sent, err = cargo.Pass(w, r, cargo.Owner{})
			return err
		})
	}, func(r io.Reader) error { return to.UnpackVolume(ctx, to.launch, volume, there.Bytes, r) })
	if err != nil {
		return sent, err
	}
	arrived, err := to.survey(ctx, volume)
	if err != nil {
		return sent, err
	}
	if !sent.Same(there) || !arrived.Same(sent) {
		return sent, fault.New(fault.Unavailable, "move.copy_differs", "The copy of %s is not what it should be", volumeName(volume)).
			Because("there were %s, sent were %s, arrived are %s", there, sent, arrived).
			Do("See that nothing else writes to the volume, then move the agent again.")
	}
	return sent, nil
}

// piped lets what one function writes be read by the other one, and ends both when
// one fails. The error is that of whoever failed first.
func piped(write func(io.Writer) error, read func(io.Reader) error) error {
	r, w := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := write(w)
		wrote <- err
		_ = w.CloseWithError(err)
	}()
	err := read(r)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // the end of an archive may be followed by padding
	}
	_ = r.CloseWithError(errStopped)
	if werr := <-wrote; werr != nil && !errors.Is(werr, errStopped) {
		return werr
	}
	return err
}

// errStopped is what writers get when nobody reads any more.
var errStopped = errors.New("nobody takes it any more")

// notCopied makes a fault of why a volume could not be copied.
func notCopied(agentID, volume string, err error) error {
	if f := fault.As(err); f != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	f := fault.New(fault.Unavailable, "move.copy", "The content of %s of %s could not be copied", volumeName(volume), agentID).
		Because("%s", strings.TrimSpace(err.Error())).Wrap(err)
	if errors.Is(err, cargo.ErrTooMuch) {
		f.Kind = fault.Invalid
		return f.Do("Move it without its data, or let it hold less.")
	}
	return f.Do("See what the cause says, then move the agent again; what was there is where it was.")
}
