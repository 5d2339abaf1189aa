package kubernetes

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"

	kerrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// isAway tells whether the cluster did not answer, rather than refuse.
func isAway(err error) bool {
	var n net.Error
	var u *url.Error
	return errors.As(err, &n) || errors.As(err, &u) || errors.Is(err, context.DeadlineExceeded) ||
		kerrors.IsServiceUnavailable(err) || kerrors.IsTimeout(err) || kerrors.IsServerTimeout(err) ||
		kerrors.IsTooManyRequests(err) || kerrors.IsInternalError(err)
}

// answered makes a fault of what the cluster answered to a question of ctx.
func (r *Runtime) answered(ctx context.Context, what string, err error) error {
	switch {
	case err == nil || fault.As(err) != nil:
		return err
	case ctx.Err() != nil: // the caller's own patience
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Unavailable, "kubernetes.slow", "%s did not answer within %s", r.cluster(), r.cfg.Timeout).
			Because("%s took longer", what).Do("See what keeps its API server busy. What was asked is tried again.").Wrap(err)
	case kerrors.IsUnauthorized(err):
		return fault.New(fault.Unavailable, "kubernetes.unauthorized", "%s does not know the portal", r.cluster()).
			Because("%s", brief(err)).Do("Renew the credentials of %s, or of the portal's service account; `portal doctor` checks them. Start the portal again after that, unless the token is in a file of its own (tokenFile, service account).", r.setting("kubeconfig")).Wrap(err)
	case kerrors.IsForbidden(err):
		return fault.New(fault.Unavailable, "kubernetes.forbidden", "%s refuses the portal: %s", r.cluster(), what).
			Because("%s", brief(err)).Do("Give the portal's account the rights that docs/runtimes.md lists in the namespace %s.", r.namespace).Wrap(err)
	case kerrors.IsTooManyRequests(err):
		return fault.New(fault.Unavailable, "kubernetes.busy", "%s asks to be left alone for a while", r.cluster()).
			Because("%s", brief(err)).Do("What was asked is tried again. See what keeps its API server busy if that goes on.").Wrap(err)
	case isAway(err):
		return fault.New(fault.Unavailable, "kubernetes.unreachable", "%s %s can't be reached", r.cluster(), r.host).
			Because("%s", brief(err)).Do("See whether its API server runs and is reached from here, or correct %s; `portal doctor` checks it. Pods go on meanwhile.", r.setting("kubeconfig")).Wrap(err)
	}
	return fault.New(fault.Unavailable, "kubernetes.failed", "%s did not do what was asked: %s", r.cluster(), what).
		Because("%s", brief(err)).Do("See the API server's log, then try again.").Wrap(err)
}

// brief is what the cluster said, or why it said nothing.
func brief(err error) string {
	var unanswered *url.Error // says what was asked, at length
	if errors.As(err, &unanswered) && unanswered.Err != nil {
		err = unanswered.Err
	}
	text := err.Error()
	if len(text) > 600 {
		text = text[:600] + "…"
	}
	return text
}

// refused makes a fault of why an object was not taken.
func (r *Runtime) refused(ctx context.Context, l fleet.Launch, err error) error {
	if err == nil || fault.As(err) != nil || ctx.Err() != nil {
		return r.answered(ctx, "start "+l.InstanceID, err)
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "failed to allocate") && (strings.Contains(text, "range is full") || strings.Contains(text, "no IPs available")):
		// The cluster calls it an internal error, and waiting does not end it.
		return fault.New(fault.Conflict, "kubernetes.addresses", "The cluster has no address left for the Service of %s", l.AgentID).
			Because("%s", brief(err)).
			Do("Remove Services that nobody needs, or let the cluster's administrator add a range of addresses for Services (a ServiceCIDR).").Wrap(err)
	case kerrors.IsForbidden(err) && strings.Contains(text, "exceeded quota"):
		return fault.New(fault.Conflict, "kubernetes.quota", "The quota of the namespace %s is used up", r.namespace).
			Because("%s", brief(err)).Do("Raise the quota, stop other agents, or give %s smaller limits.", l.AgentID).Wrap(err)
	case kerrors.IsForbidden(err) && (strings.Contains(text, "violates PodSecurity") || strings.Contains(text, "limit") || strings.Contains(text, "must specify")):
		return fault.New(fault.Invalid, "kubernetes.policy", "The cluster's policy does not allow %s as it is specified", l.AgentID).
			Because("%s", brief(err)).Do("Correct the limits of the agent, or the policy of the namespace %s.", r.namespace).Wrap(err)
	case strings.Contains(text, "admission webhook"):
		return fault.New(fault.Invalid, "kubernetes.admission", "An admission check of the cluster refuses %s", l.AgentID).
			Because("%s", brief(err)).Do("Change what it complains about, or ask the cluster's administrator.").Wrap(err)
	case kerrors.IsNotFound(err) && strings.Contains(text, "namespaces"):
		return fault.New(fault.Unavailable, "kubernetes.namespace", "The namespace %s is not there", r.namespace).
			Because("%s", brief(err)).Do("Make it, or correct %s.", r.setting("namespace")).Wrap(err)
	case kerrors.IsInvalid(err) || kerrors.IsBadRequest(err):
		return fault.New(fault.Invalid, "kubernetes.invalid", "The cluster can't run %s as it is specified", l.AgentID).
			Because("%s", brief(err)).Do("Correct the specification.").Wrap(err)
	case kerrors.IsConflict(err):
		return fault.New(fault.Conflict, "kubernetes.conflict", "Somebody else changes the objects of %s", l.AgentID).
			Because("%s", brief(err)).Do("Find out which program writes to the objects of this portal, and keep it from them.").Wrap(err)
	}
	return r.answered(ctx, "start "+l.InstanceID, err)
}

// hopeless makes a fault of why a pod waits, if it will not go on by itself soon.
func (r *Runtime) hopeless(l fleet.Launch, reason, message string) error {
	switch reason {
	case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		return r.imageMissing(l, reason, message)
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CreateSandboxError":
		if strings.Contains(message, "executable file not found") || strings.Contains(message, "no such file or directory") {
			return commandMissing(l, message)
		}
		if passing(message) {
			return nil
		}
		return fault.New(fault.Invalid, "kubernetes.refused", "The node can't run %s as it is specified", l.InstanceID).
			Because("%s: %s", reason, message).Do("Correct the limits, the volumes or the program of the agent.")
	}
	return nil
}

// passing tells whether a node only was too slow: the kubelet tries again by itself.
func passing(message string) bool {
	for _, part := range []string{"timed out waiting for", "context deadline exceeded", "DeadlineExceeded", "is reserved for", "rate limit", "connection refused"} {
		if strings.Contains(message, part) {
			return true
		}
	}
	return false
}

func (r *Runtime) imageMissing(l fleet.Launch, reason, message string) error {
	f := fault.New(fault.Unavailable, "image.pull", "The image %s can't be pulled", l.Image).Because("%s: %s", reason, message)
	text := strings.ToLower(message)
	switch {
	case reason == "InvalidImageName" || strings.Contains(text, "not found") || strings.Contains(text, "manifest unknown"):
		f.Kind = fault.Invalid
		return f.Do("Correct the name, the tag or the digest of the image.")
	case reason == "ErrImageNeverPull":
		f.Kind = fault.Invalid
		return f.Do("Put the image on the node.")
	case strings.Contains(text, "denied") || strings.Contains(text, "unauthorized") || strings.Contains(text, "authorization failed") || strings.Contains(text, "no basic auth"):
		f.Kind = fault.Invalid
		return f.Do("Name a secret with the registry's credentials in %s, or correct the name of the image.", r.setting("pull-secret"))
	}
	return f.Do("See whether the nodes reach the registry, then try again.")
}

// unschedulable is for a pod that no node was chosen for, with what the scheduler says
// of it: nothing where none works.
func unschedulable(l fleet.Launch, reason, message string) error {
	if reason == "" && message == "" {
		return fault.New(fault.Unavailable, "kubernetes.unscheduled", "The cluster chose no node for %s", l.InstanceID).
			Because("its scheduler has not said anything of the pod").Do("See that the scheduler of the cluster works (kube-scheduler), then try again.")
	}
	return fault.New(fault.Conflict, "kubernetes.unschedulable", "No node of the cluster takes %s", l.InstanceID).
		Because("%s: %s", reason, message).Do("Add nodes, stop other agents, or give %s smaller limits.", l.AgentID)
}

func commandMissing(l fleet.Launch, why string) *fault.Error {
	return fault.New(fault.Invalid, "command.missing", "%q can't be run", l.Command).
		Because("%s", why).Do("Give the path of a program that is in the image %s, and may be run by user %d.", l.Image, nobody)
}
