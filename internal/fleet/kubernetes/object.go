package kubernetes

import (
	"encoding/json"
	"maps"
	"math"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/surroundings"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// nobody is the user and the group of every program.
const nobody = 65532

// temporary is how much an instance may write to /tmp.
var temporary = resource.MustParse("64Mi")

// volume is a directory that an instance writes to.
type volume struct {
	name     string // within the pod
	claim    string // "" means that it ends with the run
	path     string
	size     int64
	readOnly bool
}

// volumes gives the agent's data directory, and the volumes of its specification.
// Each index has its own, so that instances may run on different nodes.
func (r *Runtime) volumes(l fleet.Launch, lasting bool) ([]volume, error) {
	claim := func(name string) string {
		if !lasting {
			return ""
		}
		return r.name(l.AgentID, labelled(name)+"-"+itoa(l.Index))
	}
	list := []volume{{name: "data", claim: claim("data"), path: DataDir, size: int64(l.Resources.Disk)}}
	for i, v := range l.Volumes {
		where := v.Path
		if where == "" {
			where = v.Name
		}
		where = path.Clean(where)
		why := ""
		if upkeep.CheckIDs(v.Name) != nil {
			why = "a volume's name has letters, digits, dots, dashes and underscores only"
		} else if !filepath.IsLocal(where) || where == "." || strings.ContainsRune(where, 0) {
			why = "its path leaves the working directory"
		}
		if why != "" {
			return nil, fault.New(fault.Invalid, "volume.path", "volume %.100q cannot be used", v.Name).Because("%s", why).
				Do("Give it a relative path that is free, without \"..\".").At(fault.Field{Path: "volumes[" + itoa(i) + "].path", Message: why})
		}
		list = append(list, volume{
			name: "v" + itoa(i), claim: claim("volume-" + v.Name), path: path.Join("/", where), size: int64(v.Size), readOnly: v.ReadOnly,
		})
	}
	return list, nil
}

// object gives the workload of an instance.
func (r *Runtime) object(l fleet.Launch, volumes []volume, launch string) (*workload, error) {
	policy, err := json.Marshal(l.Restart)
	if err != nil {
		return nil, err
	}
	labels := r.labels(l.AgentID)
	labels[labelInstance] = labelled(l.InstanceID)
	if launch != "" {
		labels[labelLaunch] = launch
	}
	no, yes, user := false, true, int64(nobody)
	grace := seconds(l.Grace)
	c := corev1.Container{
		Name: container, Image: l.Image, Args: l.Args, ImagePullPolicy: corev1.PullIfNotPresent,
		EnvFrom:                  r.envFrom(l.InstanceID),
		Resources:                resources(l),
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Privileged: &no,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
	if l.Command != "" {
		c.Command = []string{l.Command}
	}
	probe(&c, l)
	for _, n := range ports(l) {
		p := corev1.ContainerPort{ContainerPort: int32(n)}
		if n == l.Port {
			p.Name = surroundings.MainPort
		}
		c.Ports = append(c.Ports, p)
	}
	spec := corev1.PodSpec{
		RestartPolicy: restart(l.Restart), TerminationGracePeriodSeconds: &grace,
		AutomountServiceAccountToken: &no, EnableServiceLinks: &no, ServiceAccountName: r.name(l.AgentID, ownObjects),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsUser: &user, RunAsGroup: &user, FSGroup: &user, RunAsNonRoot: &yes,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		// Instances of one agent go to different nodes where there are some.
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &meta.LabelSelector{MatchLabels: r.labels(l.AgentID)},
		}},
		Volumes: []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &temporary}}}},
	}
	if r.cfg.PullSecret != "" {
		spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: r.cfg.PullSecret}}
	}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}}
	for _, v := range volumes {
		spec.Volumes = append(spec.Volumes, mounted(v))
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.name, MountPath: v.path, ReadOnly: v.readOnly})
	}
	spec.Containers = []corev1.Container{c}
	notes := map[string]string{
		noteAgent: l.AgentID, noteInstance: l.InstanceID, noteLaunch: launch,
		noteRevision: itoa(l.Revision), noteIndex: itoa(l.Index), notePort: itoa(l.Port),
		noteRestart: string(policy), noteMemory: l.Resources.Memory.String(),
	}
	lasting := slices.ContainsFunc(volumes, func(v volume) bool { return v.claim != "" })
	return &workload{
		ObjectMeta: meta.ObjectMeta{Name: r.name(l.InstanceID, "w"), Namespace: r.namespace, Labels: labels, Annotations: maps.Clone(notes)},
		kind:       kindFor(l.Restart, lasting), wanted: 1,
		template: corev1.PodTemplateSpec{ObjectMeta: meta.ObjectMeta{Labels: labels, Annotations: notes}, Spec: spec},
	}, nil
}

// restart gives what the kubelet does about ends.
func restart(p agent.RestartPolicy) corev1.RestartPolicy {
	switch {
	case upkeep.Again(p, false):
		return corev1.RestartPolicyAlways
	case upkeep.Again(p, true):
		return corev1.RestartPolicyOnFailure
	}
	return corev1.RestartPolicyNever
}

func mounted(v volume) corev1.Volume {
	out := corev1.Volume{Name: v.name}
	if v.claim != "" {
		out.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v.claim}
		return out
	}
	out.EmptyDir = &corev1.EmptyDirVolumeSource{}
	if v.size > 0 {
		out.EmptyDir.SizeLimit = resource.NewQuantity(v.size, resource.BinarySI)
	}
	return out
}

// resources gives limits, and as much that is asked for: memory as the limit says,
// of processors a tenth, for most agents wait most of the time.
func resources(l fleet.Launch) corev1.ResourceRequirements {
	out := corev1.ResourceRequirements{Limits: corev1.ResourceList{}, Requests: corev1.ResourceList{}}
	if n := int64(l.Resources.Memory); n > 0 {
		out.Limits[corev1.ResourceMemory] = *resource.NewQuantity(n, resource.BinarySI)
		out.Requests[corev1.ResourceMemory] = *resource.NewQuantity(n, resource.BinarySI)
	}
	if n := int64(l.Resources.CPU * 1000); n > 0 {
		out.Limits[corev1.ResourceCPU] = *resource.NewMilliQuantity(n, resource.DecimalSI)
		out.Requests[corev1.ResourceCPU] = *resource.NewMilliQuantity(max(1, n/10), resource.DecimalSI)
	}
	return out
}

// ports are those that an instance listens on.
func ports(l fleet.Launch) []int {
	var list []int
	if l.Port > 0 {
		list = append(list, l.Port)
	}
	for _, p := range l.Ports {
		list = append(list, p.Port)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// seconds rounds a grace up: the cluster knows whole seconds, a node waits for two
// at least, and none would mean that nobody waits for the end.
func seconds(d time.Duration) int64 { return max(2, int64(math.Ceil(d.Seconds()))) }

// envFrom names what holds the environment of an instance.
func (r *Runtime) envFrom(instanceID string) []corev1.EnvFromSource {
	name := corev1.LocalObjectReference{Name: r.name(instanceID, "env")}
	return []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: name}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: name}},
	}
}

// environ completes the launch's environment, and parts what may be seen from what
// may be a secret. What the portal serves on loopback has another name inside.
func (r *Runtime) environ(l fleet.Launch) (open, hidden map[string]string) {
	open, hidden = map[string]string{}, map[string]string{}
	for name, v := range l.Env {
		if r.cfg.PortalHost != "" && (name == "PORTAL_URL" || name == "QUEUE_URL") {
			v = upkeep.Outside(v, r.cfg.PortalHost)
		}
		if slices.Contains(l.Open, name) {
			open[name] = v
		} else {
			hidden[name] = v
		}
	}
	for name, v := range map[string]string{
		"AGENT_INSTANCE": l.InstanceID, "AGENT_DATA_DIR": DataDir,
		"AGENT_HOST": "0.0.0.0", // a pod is not reached on its loopback
	} {
		open[name] = v
		delete(hidden, name)
	}
	return open, hidden
}
