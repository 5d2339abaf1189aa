package docker

import (
	"context"
	"errors"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// answered makes a fault of what the engine answered to a question of ctx.
func (r *Runtime) answered(ctx context.Context, what string, err error) error {
	switch {
	case err == nil || fault.As(err) != nil:
		return err
	case ctx.Err() != nil: // the caller's own patience
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Unavailable, "docker.slow", "The Docker engine did not answer within %s", r.cfg.Timeout).
			Because("%s took longer", what).Do("See what keeps the engine busy: its log, its disk and its processor. What was asked is tried again.").Wrap(err)
	case client.IsErrConnectionFailed(err) || errdefs.IsUnavailable(err):
		return r.unreachable(err)
	case errdefs.IsPermissionDenied(err) || strings.Contains(err.Error(), "permission denied while trying to connect") || strings.HasSuffix(err.Error(), "received 403"):
		return fault.New(fault.Unavailable, "docker.forbidden", "The Docker engine refuses the portal").
			Because("%s", brief(err)).Do("Let the portal's user use the socket, or let the socket proxy allow containers, images, networks, volumes, exec and events.").Wrap(err)
	}
	text := strings.ToLower(err.Error())
	if strings.Contains(text, "no space left on device") {
		return fault.New(fault.Unavailable, "docker.disk_full", "The disk of the Docker engine is full").
			Because("%s", brief(err)).Do("Make room where the engine keeps images and containers, for example by `docker system prune`.").Wrap(err)
	}
	if strings.Contains(text, "no available ip") || strings.Contains(text, "could not find an available, non-overlapping") {
		return fault.New(fault.Unavailable, "docker.addresses", "The Docker engine has no network address left").
			Because("%s", brief(err)).Do("Give the engine larger or more address pools (default-address-pools), or remove networks and containers that nobody needs.").Wrap(err)
	}
	return fault.New(fault.Unavailable, "docker.failed", "The Docker engine did not do what was asked: %s", what).
		Because("%s", brief(err)).Do("See the engine's log, then try again.").Wrap(err)
}

// brief is what the engine said, without what its client puts before it.
func brief(err error) string {
	text := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	if len(text) > 600 {
		text = text[:600] + "…"
	}
	return text
}

// started makes a fault of why a container could not be started.
func (r *Runtime) started(ctx context.Context, l fleet.Launch, err error) error {
	if err == nil || ctx.Err() != nil {
		return r.answered(ctx, "start "+l.InstanceID, err)
	}
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("port is already allocated", "address already in use"):
		return fault.New(fault.Conflict, "port.taken", "port %d is taken", l.Port).
			Because("%s", brief(err)).Do("End what listens there, or let the portal choose another port.").With("port", l.Port).Wrap(err)
	case has("executable file not found", "no such file or directory", "exec format error"):
		return commandMissing(l, brief(err)).Wrap(err)
	case has("permission denied") && has("exec"):
		return commandMissing(l, brief(err)).Do("Make the program executable for the image's user.").Wrap(err)
	case has("oci runtime", "operation not permitted", "rlimit"):
		return fault.New(fault.Invalid, "docker.refused", "The Docker engine can't run %s as it is specified", l.InstanceID).
			Because("%s", brief(err)).Do("Correct the limits or the program of the agent; what the engine may do is limited by the machine that it runs on.").Wrap(err)
	}
	return r.answered(ctx, "start "+l.InstanceID, err)
}

func commandMissing(l fleet.Launch, why string) *fault.Error {
	return fault.New(fault.Invalid, "command.missing", "%q can't be run", l.Command).
		Because("%s", why).Do("Give the path of a program that is in the image %s.", l.Image)
}

func notThere(instanceID string) *fault.Error {
	return fault.New(fault.NotFound, "instance.not_found", "instance %s is not there", instanceID)
}

func notRunning(in fleet.Instance) *fault.Error {
	return fault.New(fault.Conflict, "instance.not_running", "%s does not run", in.ID).
		Because("it is %s: %s", in.State, in.Reason).Do("Start the agent.")
}
