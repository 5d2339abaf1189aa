package kubernetes

import (
	"context"
	"encoding/json"
	"math"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/gentype"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/mirror"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// The kinds of workloads.
const (
	deployment  = "Deployment"  // starts its pod again whatever happens
	statefulSet = "StatefulSet" // and never runs two at once, for they would share volumes
	job         = "Job"         // ends
)

// workload is the object of an instance by which the cluster keeps its pod.
type workload struct {
	meta.ObjectMeta
	kind     string
	wanted   int // pods: 0 or 1
	template corev1.PodTemplateSpec
	over     bool   // a job that has ended
	trouble  string // why the cluster makes no pod
}

func (w *workload) launch() string { return w.Annotations[noteLaunch] }

// suspended tells whether it is scaled to nothing, to be resumed some time.
func (w *workload) suspended() bool { return w.Annotations[noteReplicas] != "" }

// finished gives what was decided about an instance that is done with, nil if it
// is not.
func (w *workload) finished() *fleet.Instance {
	text := w.Annotations[noteEnd]
	in := &fleet.Instance{}
	if text == "" || json.Unmarshal([]byte(text), in) != nil {
		return nil
	}
	return in
}

// kind is how workloads of a kind are read and written.
type kind struct {
	name, version string
	mirror        *mirror.Mirror[*workload]
	source        mirror.Source[*workload]
	get           func(ctx context.Context, name string) (*workload, error)
	patch         func(ctx context.Context, name string, how types.PatchType, body []byte, o meta.PatchOptions) (*workload, error)
	remove        func(ctx context.Context, name string, o meta.DeleteOptions) error
}

// workloads gives the kinds.
func (r *Runtime) workloads() []*kind {
	ns := r.namespace
	return []*kind{
		kindOf(r, deployment, appsv1.SchemeGroupVersion.String(), r.api.deployments(ns), func(d *appsv1.Deployment) *workload {
			w := &workload{ObjectMeta: d.ObjectMeta, kind: deployment, wanted: scaled(d.Spec.Replicas), template: d.Spec.Template}
			for _, c := range d.Status.Conditions {
				if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
					w.trouble = c.Message
				}
			}
			return w
		}),
		kindOf(r, statefulSet, appsv1.SchemeGroupVersion.String(), r.api.statefulSets(ns), func(s *appsv1.StatefulSet) *workload {
			return &workload{ObjectMeta: s.ObjectMeta, kind: statefulSet, wanted: scaled(s.Spec.Replicas), template: s.Spec.Template}
		}),
		kindOf(r, job, batchv1.SchemeGroupVersion.String(), r.api.jobs(ns), func(j *batchv1.Job) *workload {
			w := &workload{ObjectMeta: j.ObjectMeta, kind: job, wanted: 1, template: j.Spec.Template}
			if j.Spec.Suspend != nil && *j.Spec.Suspend {
				w.wanted = 0
			}
			for _, c := range j.Status.Conditions {
				if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
					w.over, w.trouble = true, c.Message
				}
			}
			return w
		}),
	}
}

func scaled(replicas *int32) int {
	if replicas == nil {
		return 1
	}
	return int(*replicas)
}

func kindOf[T object, L list](r *Runtime, name, version string, c *gentype.ClientWithList[T, L], view func(T) *workload,
) *kind {
	viewed := func(t T, err error) (*workload, error) {
		if err != nil {
			return nil, err
		}
		return slimmed(view(t)), nil
	}
	k := &kind{
		name: name, version: version, mirror: mirror.New(&r.bell, keyed[*workload]), remove: c.Delete,
		get: func(ctx context.Context, name string) (*workload, error) {
			return viewed(c.Get(ctx, name, meta.GetOptions{}))
		},
		patch: func(ctx context.Context, name string, how types.PatchType, body []byte, o meta.PatchOptions) (*workload, error) {
			return viewed(c.Patch(ctx, name, how, body, o))
		},
	}
	k.mirror.Changed = func(w *workload, gone bool) {
		r.changed(w)
		if !gone && w.DeletionTimestamp == nil && usable(w) {
			r.adopt(w)
		}
	}
	k.source = source[T, L](c, func(t T) *workload { return slimmed(view(t)) })
	return k
}

// slimmed leaves out what nobody here reads.
func slimmed(w *workload) *workload {
	w.ManagedFields = nil
	return w
}

// kind gives how workloads of the kind are written.
func (r *Runtime) kind(name string) *kind {
	for _, k := range r.kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// kindFor chooses the kind: a job where an end may be final, for every other kind
// starts its pod again.
func kindFor(p agent.RestartPolicy, lasting bool) string {
	switch {
	case !upkeep.Again(p, false):
		return job
	case lasting:
		return statefulSet
	}
	return deployment
}

// manifest is a workload as it is applied: nothing but what this program decides.
func (r *Runtime) manifest(w *workload) map[string]any {
	spec := map[string]any{"template": map[string]any{
		"metadata": map[string]any{"labels": w.template.Labels, "annotations": w.template.Annotations},
		"spec":     w.template.Spec,
	}}
	switch w.kind {
	case job: // on-failure is the kubelet's to do again, and bounded here
		limit := 0
		if w.template.Spec.RestartPolicy == corev1.RestartPolicyOnFailure {
			limit = math.MaxInt32
		}
		spec["backoffLimit"], spec["completions"], spec["parallelism"], spec["suspend"] = limit, 1, 1, false
	case deployment:
		spec["strategy"] = map[string]any{"type": appsv1.RecreateDeploymentStrategyType}
		fallthrough
	default:
		spec["replicas"], spec["revisionHistoryLimit"] = 1, 0
		spec["selector"] = map[string]any{"matchLabels": w.template.Labels}
	}
	return map[string]any{
		"apiVersion": r.kind(w.kind).version, "kind": w.kind,
		"metadata": map[string]any{"name": w.Name, "namespace": r.namespace, "labels": w.Labels, "annotations": w.Annotations},
		"spec":     spec,
	}
}

// create makes a workload, of which the cluster makes the pod.
func (r *Runtime) create(ctx context.Context, w *workload) (*workload, error) {
	k := r.kind(w.kind)
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := k.get(bounded, w.Name)
	switch {
	case err == nil:
		if err := r.owned(strings.ToLower(w.kind), got.ObjectMeta); err != nil {
			return nil, err
		}
	case !kerrors.IsNotFound(err):
		return nil, err
	}
	body, err := json.Marshal(r.manifest(w))
	if err != nil {
		return nil, err
	}
	force := true
	made, err := k.patch(bounded, w.Name, types.ApplyPatchType, body, meta.PatchOptions{FieldManager: manager, Force: &force})
	if err != nil {
		return nil, err
	}
	k.mirror.Put(made)
	return made, nil
}

// scale lets the cluster have n pods of a workload, 0 or 1, and changes its
// annotations; those that are empty are removed. One that is gone is left so.
func (r *Runtime) scale(ctx context.Context, w *workload, n int, notes map[string]string) error {
	spec := map[string]any{"replicas": n}
	if w.kind == job {
		spec = map[string]any{"suspend": n == 0}
	}
	values := map[string]any{}
	for name, value := range notes {
		values[name] = value
		if value == "" {
			values[name] = nil
		}
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.UID, "annotations": values}, "spec": spec})
	if err != nil {
		return err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err = r.kind(w.kind).patch(bounded, w.Name, types.MergePatchType, body, meta.PatchOptions{FieldManager: manager})
	if kerrors.IsNotFound(err) || kerrors.IsConflict(err) { // another one has the name
		return nil
	}
	return r.answered(ctx, "scale "+w.Name, err)
}

// delete asks the cluster to remove a workload, and its pods after it.
func (r *Runtime) delete(ctx context.Context, w *workload) error {
	background := meta.DeletePropagationBackground
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	err := r.kind(w.kind).remove(bounded, w.Name, meta.DeleteOptions{
		PropagationPolicy: &background, Preconditions: meta.NewUIDPreconditions(string(w.UID)),
	})
	if kerrors.IsNotFound(err) || kerrors.IsConflict(err) {
		return nil
	}
	return r.answered(ctx, "remove "+w.Name, err)
}

// again makes a job anew, for one that has ended can't be started. The launch stays
// the same.
func (r *Runtime) again(ctx context.Context, w *workload) error {
	next := &workload{
		ObjectMeta: meta.ObjectMeta{Name: w.Name, Labels: w.Labels, Annotations: map[string]string{}},
		kind:       w.kind, template: *w.template.DeepCopy(),
	}
	for name, value := range w.Annotations {
		if strings.HasPrefix(name, notePrefix) && name != noteReplicas && name != noteEnd {
			next.Annotations[name] = value
		}
	}
	for name := range next.template.Labels { // those that the cluster gave it
		if strings.Contains(name, "controller-uid") || strings.Contains(name, "job-name") {
			delete(next.template.Labels, name)
		}
	}
	_, err := r.create(ctx, next)
	return err
}
