package kubernetes

import (
	"cmp"
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	kmeta "k8s.io/apimachinery/pkg/api/meta"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/mirror"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// object is what the cluster's kinds have in common.
type object interface {
	runtime.Object
	meta.Object
}

// list is what lists of them have in common.
type list interface {
	runtime.Object
	meta.ListInterface
}

// lister is the part of a typed client that mirrors read by.
type lister[L any] interface {
	List(ctx context.Context, o meta.ListOptions) (L, error)
	Watch(ctx context.Context, o meta.ListOptions) (watch.Interface, error)
}

// source reads objects by a typed client, and keeps of each what view gives.
func source[T object, L list, V meta.Object](c lister[L], view func(T) V,
) mirror.Source[V] {
	seen := func(o runtime.Object) (v V, ok bool) {
		t, ok := o.(T)
		if ok {
			v = view(t)
		}
		return v, ok
	}
	return mirror.Source[V]{
		View: seen, Watch: c.Watch,
		List: func(ctx context.Context, o meta.ListOptions) (all []V, about meta.ListInterface, err error) {
			page, err := c.List(ctx, o)
			if err != nil {
				return nil, nil, err
			}
			err = kmeta.EachListItem(page, func(item runtime.Object) error {
				if v, ok := seen(item); ok {
					all = append(all, v)
				}
				return nil
			})
			return all, page, err
		},
	}
}

// keyed is by what mirrors find objects: their instance.
func keyed[T meta.Object](o T) string { return o.GetAnnotations()[noteInstance] }

// follow begins to keep what the cluster has of one kind.
func follow[T meta.Object](r *Runtime, m *mirror.Mirror[T], from mirror.Source[T]) {
	m.Selector, m.Timeout = r.mine(""), r.cfg.Timeout
	m.Broken = func(err error) {
		r.cfg.Log.Warn("the Kubernetes cluster tells no changes; trying again", "error", err)
		r.pokeAll()
	}
	r.tasks.Go(func() { m.Follow(r.ctx, from) })
}

// slim leaves out what nobody here reads.
func slim(pod *corev1.Pod) *corev1.Pod {
	pod.ManagedFields = nil
	return pod
}

// changed lets somebody look at the agent of an object.
func (r *Runtime) changed(o meta.Object) {
	if id := o.GetAnnotations()[noteAgent]; id != "" {
		r.changes.Add(id)
	}
}

// pokeAll lets somebody look at every agent that has something here.
func (r *Runtime) pokeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.units {
		r.changes.Add(u.agentID)
	}
}

// usable tells whether an object says what it is of.
func usable(o meta.Object) bool {
	notes := o.GetAnnotations()
	return upkeep.CheckIDs(notes[noteAgent], notes[noteInstance]) == nil
}

// known gives this portal's workloads and pods, as the watches told them; of one
// agent if it is named.
func (r *Runtime) known(ctx context.Context, agentID string) (workloads []*workload, pods []*corev1.Pod, err error) {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	wanted := func(o meta.Object) bool {
		return usable(o) && (agentID == "" || o.GetAnnotations()[noteAgent] == agentID)
	}
	for _, k := range r.kinds {
		list, err := k.mirror.List(bounded, func(w *workload) bool { return wanted(w) })
		if err != nil {
			return nil, nil, r.answered(ctx, "list workloads", err)
		}
		workloads = append(workloads, list...)
	}
	pods, err = r.pods.List(bounded, func(pod *corev1.Pod) bool { return wanted(pod) })
	return workloads, pods, r.answered(ctx, "list pods", err)
}

// instances names the instances that objects are of, in order.
func instances(workloads []*workload, pods []*corev1.Pod) []string {
	found := map[string]bool{}
	for _, w := range workloads {
		found[keyed(w)] = true
	}
	for _, pod := range pods {
		found[keyed(pod)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// workload gives that of an instance, nil if there is none.
func (r *Runtime) workload(instanceID string) *workload {
	var list []*workload
	for _, k := range r.kinds {
		list = append(list, k.mirror.Of(instanceID)...)
	}
	return latest(list)
}

// pod gives the newest of a launch, nil if there is none.
func (r *Runtime) pod(instanceID, launch string) *corev1.Pod {
	return latest(slices.DeleteFunc(r.pods.Of(instanceID), func(pod *corev1.Pod) bool { return pod.Annotations[noteLaunch] != launch }))
}

// latest gives what was made last, and of what was made in the same second what is
// not being removed.
func latest[T meta.Object](list []T) (last T) {
	slices.SortFunc(list, func(a, b T) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), leaving(b)-leaving(a), cmp.Compare(a.GetUID(), b.GetUID()))
	})
	if len(list) > 0 {
		last = list[len(list)-1]
	}
	return last
}

func leaving(o meta.Object) int {
	if o.GetDeletionTimestamp() != nil {
		return 1
	}
	return 0
}
