package cause_test

import (
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// What engines and clusters say of memory, disks, permissions and credentials is
// about themselves: nobody is told that the agent uses too much, and no credential
// or file of it is touched.
func TestRefusalsOfRuntimesAreNoFaultsOfTheAgent(t *testing.T) {
	for _, c := range []struct {
		code, what, why string
		want            cause.Code
		class           cause.Class
	}{
		{"docker.disk_full", "The Docker engine has a full disk", "write /var/lib/docker/tmp/GetImageBlob1: no space left on device", cause.NoRoom, cause.Dependency},
		{"docker.addresses", "The Docker engine has no network address left", "no available IPv4 addresses on this network's address pools", cause.NoRoom, cause.Dependency},
		{"docker.slow", "The Docker engine did not answer within 30s", "look at a-r2-0 took longer", cause.EngineAway, cause.Dependency},
		{"docker.forbidden", "The Docker engine refuses the portal", "permission denied while trying to connect to the Docker daemon socket", cause.RuntimeRefuses, cause.Dependency},
		{"docker.refused", "The Docker engine can't run a-r2-0 as it is specified", "OCI runtime create failed: error setting rlimit type 7: operation not permitted", cause.RuntimeRefuses, cause.Configuration},
		{"docker.name_taken", "The name portal-x is taken on the Docker engine", `Conflict. The container name "/portal-x" is already in use by container "abc"`, cause.RuntimeRefuses, cause.Configuration},
		{"docker.credentials", "The credentials of registries can't be read", "open /etc/config.json: no such file or directory", cause.RuntimeRefuses, cause.Dependency},
		{"kubernetes.quota", "The quota of the namespace agents is used up", "pods is forbidden: exceeded quota: few, requested: limits.memory=128Mi, used: limits.memory=1Gi", cause.NoRoom, cause.Dependency},
		{"kubernetes.unschedulable", "No node of the cluster takes a-r2-0", "Unschedulable: 0/1 nodes are available: 1 Insufficient memory", cause.NoRoom, cause.Dependency},
		{"kubernetes.stuck", "a-r2-0 does not begin to run", "FailedCreate: pods is forbidden: exceeded quota: few", cause.NoRoom, cause.Dependency},
		{"kubernetes.stuck", "a-r2-0 does not begin to run", "FailedMount: MountVolume.SetUp failed: timed out waiting for the condition", cause.RuntimeRefuses, cause.Dependency},
		{"kubernetes.unauthorized", "The cluster does not know the portal", "Unauthorized", cause.RuntimeRefuses, cause.Dependency},
		{"kubernetes.forbidden", "The cluster refuses the portal", `pods is forbidden: User "portal" cannot list resource "pods"`, cause.RuntimeRefuses, cause.Dependency},
		{"kubernetes.busy", "The cluster asks to be left alone for a while", "the server has received too many requests", cause.EngineAway, cause.Dependency},
		{"kubernetes.policy", "The cluster's policy does not allow a as it is specified", `violates PodSecurity "restricted:latest"`, cause.RuntimeRefuses, cause.Configuration},
		{"kubernetes.admission", "An admission check of the cluster refuses a", `admission webhook "a.b" denied the request: invalid label`, cause.RuntimeRefuses, cause.Configuration},
		{"kubernetes.failed", "The cluster did not do what was asked", "etcdserver: request timed out", cause.RuntimeRefuses, cause.Dependency},
		{"volume.taken", "The volume x belongs to somebody else", "it does not have this portal's labels", cause.RuntimeRefuses, cause.Configuration},
	} {
		for _, step := range []bool{true, false} {
			f := &cause.Facts{Now: now, AgentID: "a", State: agent.Errored, Health: agent.HealthUnhealthy, Revision: 2, DiskFree: -1, Spec: agent.Spec{Name: "a"}}
			f.Failure = &agent.Failure{Code: c.code, Reason: c.what + ": " + c.why, Remedy: "Do this."}
			if step {
				f.Step, f.Kind, f.Problem = "launch", "agent.start", &operation.Problem{Code: c.code, What: c.what, Why: c.why, Remedy: "Do this."}
			}
			found := cause.Find(f)
			if found == nil || found.Code != c.want || found.Class != c.class || found.Title != c.what || found.Suggestions[0].Fix != cause.NoFix || found.Suggestions[0].Why != "Do this." {
				t.Errorf("%s, %s: %+v", c.code, c.why, found)
				continue
			}
			for _, s := range found.Suggestions {
				if s.Fix != cause.NoFix && s.Fix != cause.Restart && s.Fix != cause.RollBack && s.Fix != cause.RestartWithBackoff {
					t.Errorf("%s: it offers %s", c.code, s.Fix)
				}
			}
		}
	}
}

// Its pod went away, and the new one can't begin to run: nobody is told to wait.
func TestWhatKeepsAnInstanceFromBeginningAgainIsNamed(t *testing.T) {
	for reason, want := range map[string]cause.Code{
		"FailedScheduling: 0/1 nodes are available: 1 Insufficient memory":                                          cause.NoRoom,
		"FailedCreate: pods is forbidden: exceeded quota: few":                                                      cause.NoRoom,
		"ImagePullBackOff: Back-off pulling image \"shop:2\"":                                                       cause.ImageUnavailable,
		"FailedMount: MountVolume.SetUp failed for volume \"data\" : timed out waiting for the condition":           cause.RuntimeRefuses,
		"FailedCreatePodSandBox: failed to set up sandbox: plugin type=\"bridge\" failed (add): connection refused": cause.RuntimeRefuses,
	} {
		in := fleet.Instance{ID: "a-r2-0", State: fleet.InstanceStarting, Displaced: true, Reason: reason}
		f := &cause.Facts{Now: now, AgentID: "a", State: agent.Running, Health: agent.HealthUnhealthy, DiskFree: -1, Spec: agent.Spec{Name: "a"}, Instances: []fleet.Instance{in}}
		found := cause.Find(f)
		if found == nil || found.Code != want || found.Suggestions[0].Fix != cause.NoFix || !strings.Contains(found.Title, in.ID) {
			t.Errorf("%s: %+v", reason, found)
		}
	}
	moving := fleet.Instance{ID: "a-r2-0", State: fleet.InstanceStarting, Displaced: true, Reason: "its pod went away, and another one is made"}
	f := &cause.Facts{Now: now, AgentID: "a", State: agent.Running, DiskFree: -1, Spec: agent.Spec{Name: "a"}, Instances: []fleet.Instance{moving}}
	if found := cause.Find(f); found == nil || found.Code != cause.Displaced {
		t.Errorf("%+v", found)
	}
}

func TestSuspendedInstancesThatSomebodyRemovedAreKnownAsThat(t *testing.T) {
	f := &cause.Facts{Now: now, AgentID: "a", State: agent.Errored, Health: agent.HealthUnhealthy, DiskFree: -1, Spec: agent.Spec{Name: "a"}}
	f.Failure = &agent.Failure{Code: "suspend_lost", Reason: "Only 0 of 1 suspended instances are left", Remedy: "Start the agent."}
	found := cause.Find(f)
	if found == nil || found.Code != cause.Displaced || found.Class != cause.Transient || found.Suggestions[0].Fix != cause.Restart {
		t.Errorf("%+v", found)
	}
	f.Failure.Code, f.Failure.Reason = "instances_lost", "Instance 0 was gone again and again, and launching it did not help"
	if found = cause.Find(f); found == nil || found.Code != cause.Displaced || found.Suggestions[0].Fix != cause.NoFix {
		t.Errorf("%+v", found)
	}
}

func TestABuildThatFailsIsAboutTheBuild(t *testing.T) {
	f := &cause.Facts{Now: now, AgentID: "a", State: agent.Errored, DiskFree: -1, Spec: agent.Spec{Name: "a"}}
	f.Problem = &operation.Problem{Code: "image.build", What: "The image build://a can't be built", Why: "returned a non-zero code: 7", Remedy: "Correct the Dockerfile."}
	if found := cause.Find(f); found == nil || found.Code != cause.ImageUnavailable || found.Suggestions[0].Title != "See that the image can be built" {
		t.Errorf("%+v", found)
	}
}
