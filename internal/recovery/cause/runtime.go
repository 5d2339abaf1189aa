package cause

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// What runtimes say under these codes is about themselves, and not about the agent:
// that they do not answer or do not do their work, and that they have no room for it.
// What else they say under codes of their own is that they refuse it.
var (
	away = []string{
		"docker.unreachable", "docker.slow", "kubernetes.unreachable", "kubernetes.slow", "kubernetes.busy", "kubernetes.unscheduled",
		"fleet.runtime_silent", "fleet.runtime_missing",
	}
	full    = []string{"docker.disk_full", "docker.addresses", "kubernetes.quota", "kubernetes.unschedulable", "kubernetes.addresses", "fleet.quota", "volume.small"}
	volumes = []string{"volume.taken", "volume.in_use", "kubernetes.volume_held"}
)

// engine: what the agent is to run on does not answer. That is no fault of the
// agent, whatever the engine's client says of refused connections.
func engine(f *Facts) *Finding {
	return told(f, EngineAway, "It does not answer.", func(code string) bool { return slices.Contains(away, code) })
}

// image: the image of the agent can't be had. What the engine's client says of
// connections is about the registry, and not about the program.
func image(f *Facts) *Finding {
	return told(f, ImageUnavailable, "The engine does not say why.", func(code string) bool { return strings.HasPrefix(code, "image.") })
}

// room: what the agent is to run on is full, or a quota is. Nothing of the agent's own
// is used up, whatever the runtime says of memory and disks.
func room(f *Facts) *Finding {
	return told(f, NoRoom, "It is full.", func(code string) bool {
		return slices.Contains(full, code) || code == "kubernetes.stuck" && last(f.texts(), noRoom) != nil
	})
}

var noRoom = regexp.MustCompile(`exceeded quota|FailedScheduling|Unschedulable`)

// refusal: what the agent is to run on does not take it. What it says of permissions,
// credentials and limits is about the portal, or about the specification.
func refusal(f *Facts) *Finding {
	found := told(f, RuntimeRefuses, "It does not say why.", func(code string) bool {
		return strings.HasPrefix(code, "docker.") || strings.HasPrefix(code, "kubernetes.") || slices.Contains(volumes, code)
	})
	if found != nil && slices.Contains(administered, found.Key) {
		found.Class = Dependency
	}
	return found
}

// administered are the codes of refusals that nothing in a specification ends.
var administered = []string{
	"docker.forbidden", "docker.failed", "docker.credentials", "kubernetes.unauthorized", "kubernetes.forbidden", "kubernetes.failed",
	"kubernetes.namespace", "kubernetes.conflict", "kubernetes.removed", "kubernetes.no_pod", "kubernetes.stuck", "kubernetes.volume_held",
}

// told is what a runtime has said itself, under one of the codes.
func told(f *Facts, code Code, otherwise string, is func(code string) bool) *Finding {
	out := &Finding{Code: code, Certainty: 0.99}
	switch {
	case f.Problem != nil && is(f.Problem.Code):
		out.Key, out.Title, out.Summary = f.Problem.Code, f.Problem.What, cmp.Or(f.Problem.Why, otherwise)
	case f.Problem == nil && f.Failure != nil && is(f.Failure.Code):
		what, why, _ := strings.Cut(f.Failure.Reason, ": ")
		out.Key, out.Title, out.Summary = f.Failure.Code, what, cmp.Or(why, otherwise)
	default:
		return nil
	}
	out.Evidence = f.evidence()
	return out
}

// stuck: an instance that was begun again can't begin to run where it is to run, as
// what it runs on says.
func stuck(f *Facts) *Finding {
	if f.Problem != nil || f.State != agent.Running {
		return nil
	}
	for _, in := range f.Instances {
		sign, why, _ := strings.Cut(in.Reason, ": ")
		if in.State != fleet.InstanceStarting || !hindered.MatchString(sign) {
			continue
		}
		out := &Finding{
			Code: RuntimeRefuses, Class: Dependency, Certainty: 0.98, Key: sign, Summary: in.Reason, Title: in.ID + " does not begin to run",
			Evidence: []Evidence{{Kind: "exit", Text: short(in.ID + ": " + in.Reason), At: f.Now}},
		}
		switch {
		case noImage.MatchString(sign):
			out.Code, out.Title, out.Summary = ImageUnavailable, "The image of "+in.ID+" can't be had", cmp.Or(why, in.Reason)
		case noRoom.MatchString(in.Reason):
			out.Code, out.Title = NoRoom, "There is no room for "+in.ID
		}
		return out
	}
	return nil
}

var (
	noImage  = regexp.MustCompile(`^(ErrImage\w+|ImagePullBackOff|InvalidImageName|ImageInspectError|RegistryUnavailable)$`)
	hindered = regexp.MustCompile(noImage.String() + `|^(Failed\w+|Unschedulable|NetworkNotReady|ProvisioningFailed|Create\w+Error|RunContainerError)$`)
)

// moving is how long an instance may take to be well again that was ended from outside.
const moving = time.Minute

// displaced: the cluster, or somebody, ended what runs, and it is begun again. That
// is no fault of the program, whatever it printed or answered at its end.
func displaced(f *Facts) *Finding {
	if f.Problem != nil || f.State != agent.Running {
		return nil
	}
	var which []string
	why := ""
	for _, in := range f.Instances {
		switch {
		case in.Displaced && (in.State != fleet.InstanceRunning || f.Now.Sub(in.StartedAt) < moving):
			which, why = append(which, in.ID), cmp.Or(in.Reason, why)
		case in.State != fleet.InstanceRunning && in.State != fleet.InstanceStarting:
			return nil // one that ended by itself counts more
		}
	}
	if len(which) == 0 {
		return nil
	}
	return outside(f, strings.Join(which, ", "), which[0]+": "+why)
}

// Gone is the finding for an instance that its runtime does not show any more, where
// nothing else says why.
func Gone(f *Facts, instanceID string) *Finding {
	found := outside(f, instanceID, "Its runtime did not show "+instanceID+" any more")
	found.Class, found.Suggestions = ClassOf(found.Code), offered(f, found)
	return found
}

func outside(f *Facts, which, seen string) *Finding {
	return &Finding{
		Code: Displaced, Certainty: 0.97, Key: "displaced", Evidence: []Evidence{{Kind: "exit", Text: short(seen), At: f.Now}},
		Title:   "Its instances were ended from outside",
		Summary: fmt.Sprintf("The cluster or engine, or somebody, ended or removed %s. It is begun again; the program did nothing wrong.", which),
	}
}

// lost: instances were removed that nobody can bring back as they were, or that are
// removed whenever they are launched.
func lost(f *Facts) *Finding {
	if f.Problem != nil || f.Failure == nil || f.Failure.Code != "suspend_lost" && f.Failure.Code != "instances_lost" {
		return nil
	}
	out := &Finding{Code: Displaced, Certainty: 0.99, Key: f.Failure.Code, Evidence: f.evidence(), Title: "Its suspended instances were ended from outside"}
	out.Summary = f.Failure.Reason + ". What they had in memory is gone."
	if f.Failure.Code == "instances_lost" {
		out.Title, out.Summary = "Its instances are removed again and again", f.Failure.Reason+"."
	}
	return out
}
