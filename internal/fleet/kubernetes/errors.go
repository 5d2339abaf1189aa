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
		return fault.New(fault.Unavailable, "kubernetes.slow", "The Kubernetes cluster did not answer within %s", r.cfg.Timeout).
			Because("%s took longer", what).Do("See what keeps its API server busy. What was asked is tried again.").Wrap(err)
	case kerrors.IsUnauthorized(err):
		return fault.New(fault.Unavailable, "kubernetes.unauthorized", "The Kubernetes cluster does not know the portal").
			Because("%s", brief(err)).Do("Renew the credentials of kubernetes.kubeconfig, or of the portal's service account; `portal doctor` checks them.").Wrap(err)
	case kerrors.IsForbidden(err):
		return fault.New(fault.Unavailable, "kubernetes.forbidden", "The Kubernetes cluster refuses the portal: %s", what).
			Because("%s", brief(err)).Do("Give the portal's account the rights that docs/runtimes.md lists in the namespace %s.", r.namespace).Wrap(err)
	case kerrors.IsTooManyRequests(err):
		return fault.New(fault.Unavailable, "kubernetes.busy", "The Kubernetes cluster asks to be left alone for a while").
			Because("%s", brief(err)).Do("What was asked is tried again. See what keeps its API server busy if that goes on.").Wrap(err)
	case isAway(err):
		return fault.New(fault.Unavailable, "kubernetes.unreachable", "The Kubernetes cluster %s can't be reached", r.host).
			Because("%s", brief(err)).Do("See whether its API server runs and is reached from here, or correct kubernetes.kubeconfig; `portal doctor` checks it. Pods go on meanwhile.").Wrap(err)
	}
	return fault.New(fault.Unavailable, "kubernetes.failed", "The Kubernetes cluster did not do what was asked: %s", what).
		Because("%s", brief(err)).Do("See the API server's log, then try again.").Wrap(err)
}

// brief is what the cluster said.
func brief(err error) string {
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
			Because("%s", brief(err)).Do("Make it, or correct kubernetes.namespace.").Wrap(err)
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
		return fault.New(fault.Invalid, "kubernetes.refused", "The node can't run %s as it is specified", l.InstanceID).
			Because("%s: %s", reason, message).Do("Correct the limits, the volumes or the program of the agent.")
	}
	return nil
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
		return f.Do("Name a secret with the registry's credentials in kubernetes.pull-secret, or correct the name of the image.")
	}
	return f.Do("See whether the nodes reach the registry, then try again.")
}

func unschedulable(l fleet.Launch, why string) error {
	return fault.New(fault.Conflict, "kubernetes.unschedulable", "No node of the cluster takes %s", l.InstanceID).
		Because("%s", why).Do("Add nodes, stop other agents, or give %s smaller limits.", l.AgentID)
}

func commandMissing(l fleet.Launch, why string) *fault.Error {
	return fault.New(fault.Invalid, "command.missing", "%q can't be run", l.Command).
		Because("%s", why).Do("Give the path of a program that is in the image %s, and may be run by user %d.", l.Image, nobody)
}
