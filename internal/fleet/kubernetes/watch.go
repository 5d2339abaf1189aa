package kubernetes

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// pageSize is how many objects the cluster is asked for at once.
const pageSize = 500

// pods is what a watch tells of this portal's pods.
type pods struct {
	mu     sync.Mutex
	byName map[string]*corev1.Pod
	synced bool          // byName is what the cluster has
	err    error         // why it may be old
	moved  chan struct{} // closed at the next change
}

func newPods() *pods { return &pods{byName: map[string]*corev1.Pod{}, moved: make(chan struct{})} }

// announce wakes all that wait. p.mu is held.
func (p *pods) announce() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// get gives a pod, nil if there is none, and what is closed when something changes.
func (p *pods) get(name string) (*corev1.Pod, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byName[name], p.moved
}

// list gives the pods of which the agent's label is so; "" means all. An error
// says why it may be old; it waits until something is known.
func (p *pods) list(ctx context.Context, agentLabel string) ([]*corev1.Pod, error) {
	for {
		p.mu.Lock()
		synced, err, moved := p.synced, p.err, p.moved
		var found []*corev1.Pod
		for _, pod := range p.byName {
			if agentLabel == "" || pod.Labels[labelAgent] == agentLabel {
				found = append(found, pod)
			}
		}
		p.mu.Unlock()
		if synced || err != nil {
			return found, err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// put notes a pod that was just made, unless the watch was faster.
func (p *pods) put(pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName[pod.Name] == nil {
		p.byName[pod.Name] = pod
		p.announce()
	}
}

// broken notes why nothing is heard.
func (p *pods) broken(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.synced, p.err = false, err
	p.announce()
}

// replace takes a whole list, and gives the pods that changed.
func (p *pods) replace(list []*corev1.Pod) (changed []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.byName
	p.byName, p.synced, p.err = map[string]*corev1.Pod{}, true, nil
	for _, pod := range list {
		p.byName[pod.Name] = pod
		if was := old[pod.Name]; was == nil || was.ResourceVersion != pod.ResourceVersion {
			changed = append(changed, pod)
		}
		delete(old, pod.Name)
	}
	for _, gone := range old {
		changed = append(changed, gone)
	}
	p.announce()
	return changed
}

// take notes one event.
func (p *pods) take(kind watch.EventType, pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kind == watch.Deleted {
		if old := p.byName[pod.Name]; old != nil && old.UID == pod.UID {
			delete(p.byName, pod.Name)
		}
	} else {
		p.byName[pod.Name] = pod
	}
	p.announce()
}

// watchPods keeps the pods known until the runtime is closed: a list, and from its
// version on a watch that is resumed where it ended.
func (r *Runtime) watchPods() {
	for wait := time.Duration(0); pause(r.ctx, wait); {
		version, err := r.listPods(r.ctx)
		for err == nil {
			wait = 0
			version, err = r.hearPods(r.ctx, version)
		}
		if r.ctx.Err() != nil {
			return
		}
		if kerrors.IsResourceExpired(err) || kerrors.IsGone(err) { // the list has to be read anew
			wait = 0
			continue
		}
		r.cfg.Log.Warn("the Kubernetes cluster tells no changes; trying again", "error", err)
		r.pods.broken(err)
		r.pokeAll()
		wait = min(max(2*wait, 100*time.Millisecond), 5*time.Second)
	}
}

// listPods reads all of them, and gives the version that a watch begins at.
func (r *Runtime) listPods(ctx context.Context) (version string, err error) {
	var all []*corev1.Pod
	query := meta.ListOptions{LabelSelector: r.mine(""), Limit: pageSize}
	for {
		bounded, cancel := r.bounded(ctx)
		page, err := r.api.pods(r.namespace).List(bounded, query)
		cancel()
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			all = append(all, slim(&page.Items[i]))
		}
		if version, query.Continue = page.ResourceVersion, page.Continue; query.Continue == "" {
			break
		}
	}
	for _, pod := range r.pods.replace(all) {
		r.changed(pod)
	}
	for _, pod := range all {
		r.meet(pod)
	}
	return version, nil
}

// errClosed means that a watch ended as watches do.
var errClosed = errors.New("the watch ended")

// hearPods takes what a watch tells from the version on, and gives the version it
// came to. Without an error it can be resumed there.
func (r *Runtime) hearPods(ctx context.Context, version string) (string, error) {
	most := int64(300 + rand.IntN(300))
	w, err := r.api.pods(r.namespace).Watch(ctx, meta.ListOptions{
		LabelSelector: r.mine(""), ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &most,
	})
	if err != nil {
		return version, err
	}
	defer w.Stop()
	heard := false
	for {
		select {
		case <-ctx.Done():
			return version, ctx.Err()
		case e, ok := <-w.ResultChan():
			if !ok {
				if !heard && !pause(ctx, time.Second) { // one that ends at once is no reason to hurry
					return version, ctx.Err()
				}
				return version, nil
			}
			heard = true
			pod, isPod := e.Object.(*corev1.Pod)
			switch {
			case e.Type == watch.Error:
				return version, kerrors.FromObject(e.Object)
			case !isPod:
				return version, errClosed
			}
			version = pod.ResourceVersion
			if e.Type != watch.Bookmark {
				r.pods.take(e.Type, slim(pod))
				r.changed(pod)
				if e.Type != watch.Deleted {
					r.meet(pod)
				}
			}
		}
	}
}

// slim leaves out what nobody here reads.
func slim(pod *corev1.Pod) *corev1.Pod {
	pod.ManagedFields = nil
	return pod
}

// changed lets somebody look at the agent of a pod.
func (r *Runtime) changed(pod *corev1.Pod) {
	if id := pod.Annotations[noteAgent]; id != "" {
		r.changes.Add(id)
	}
}

// pokeAll lets somebody look at every agent that has something here.
func (r *Runtime) pokeAll() {
	list, _ := r.pods.list(r.ctx, "")
	for _, pod := range list {
		r.changed(pod)
	}
}

// await waits until done is content with the pod of the name, nil meaning that
// there is none.
func (r *Runtime) await(ctx context.Context, name string, done func(*corev1.Pod) bool) (*corev1.Pod, error) {
	for {
		pod, moved := r.pods.get(name)
		if done(pod) {
			return pod, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return pod, ctx.Err()
		}
	}
}

// newest gives the last run of each instance.
func newest(list []*corev1.Pod) []*corev1.Pod {
	last := map[string]*corev1.Pod{}
	for _, pod := range list {
		id := pod.Annotations[noteInstance]
		if was := last[id]; was == nil || number(pod, noteRun) > number(was, noteRun) {
			last[id] = pod
		}
	}
	out := make([]*corev1.Pod, 0, len(last))
	for _, pod := range last {
		out = append(out, pod)
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		if a.Annotations[noteInstance] < b.Annotations[noteInstance] {
			return -1
		}
		return 1
	})
	return out
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// ended is nil if a stream ended as it should.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
