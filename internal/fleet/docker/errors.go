package docker

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
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
		return fault.New(fault.Unavailable, "docker.slow", "%s did not answer within %s", r.engine(), r.cfg.Timeout).
			Because("%s took longer", what).Do("See what keeps the engine busy: its log, its disk and its processor. What was asked is tried again.").Wrap(err)
	case client.IsErrConnectionFailed(err) || errdefs.IsUnavailable(err):
		return r.unreachable(err)
	case errdefs.IsPermissionDenied(err) || strings.Contains(err.Error(), "permission denied while trying to connect") || strings.HasSuffix(err.Error(), "received 403"):
		return fault.New(fault.Unavailable, "docker.forbidden", "%s refuses the portal", r.engine()).
			Because("%s", brief(err)).Do("Let the portal's user use the socket, or let the socket proxy allow containers, images, networks, volumes, exec and events.").Wrap(err)
	}
	text := strings.ToLower(err.Error())
	if strings.Contains(text, "no space left on device") {
		return fault.New(fault.Unavailable, "docker.disk_full", "%s has a full disk", r.engine()).
			Because("%s", brief(err)).Do("Make room where the engine keeps images and containers, for example by `docker system prune`.").Wrap(err)
	}
	if strings.Contains(text, "no available ip") || strings.Contains(text, "could not find an available, non-overlapping") {
		return fault.New(fault.Unavailable, "docker.addresses", "%s has no network address left", r.engine()).
			Because("%s", brief(err)).Do("Give the engine larger or more address pools (default-address-pools), or remove networks and containers that nobody needs.").Wrap(err)
	}
	return fault.New(fault.Unavailable, "docker.failed", "%s did not do what was asked: %s", r.engine(), what).
		Because("%s", brief(err)).Do("See the engine's log, then try again.").Wrap(err)
}

// brief is what the engine said, without what its client puts before it.
func brief(err error) string {
	text := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	text = strings.TrimSuffix(text, ". Is the docker daemon running?") // what to do about it is said by ours
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
		return portTaken(l, err)
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

var boundPort = regexp.MustCompile(`:(\d+)(?: failed: port is already allocated|: bind: address already in use)`)

// portTaken names the port that the engine could not publish. Another one is found by
// the portal only in place of the one that it chose itself.
func portTaken(l fleet.Launch, err error) error {
	taken := l.Port
	if m := boundPort.FindStringSubmatch(err.Error()); m != nil {
		if n, _ := strconv.Atoi(m[1]); slices.Contains(ports(l), n) {
			taken = n
		}
	}
	f := fault.New(fault.Conflict, "port.taken", "port %d is taken", taken).Because("%s", brief(err)).With("port", taken).Wrap(err)
	if slices.Contains(ports(l), taken) {
		f.Code, f.What = "fleet.port_in_use", "Port "+itoa(taken)+" is in use on the engine's machine"
		return f.Do("Stop what uses it, or give the agent another port.")
	}
	return f.Do("End what listens there, or let the portal choose another port.")
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
