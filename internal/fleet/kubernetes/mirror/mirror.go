// Package mirror keeps what a cluster has of one kind of objects: a list, and from
// its version on a watch that is resumed where it ended, with bookmarks. Nothing is
// polled.
package mirror

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// pageSize is how many objects the cluster is asked for at once.
const pageSize = 500

// Source is where objects come from.
type Source[T meta.Object] struct {
	// List gives a page of them, and what is said of the page.
	List  func(ctx context.Context, o meta.ListOptions) ([]T, meta.ListInterface, error)
	Watch func(ctx context.Context, o meta.ListOptions) (watch.Interface, error)
	// View gives what is kept of an object; false if it is of another kind.
	View func(runtime.Object) (T, bool)
}

// Mirror is what is known of the objects of one kind. Make it by New; set the
// functions before Follow.
type Mirror[T meta.Object] struct {
	// Selector says which objects, by label.
	Selector string
	// Fields says which, by fields.
	Fields string
	// Passing says that objects are told by Changed and not kept.
	Passing bool
	// Timeout bounds a page of a list.
	Timeout time.Duration
	// Changed is told each object that came, changed or went.
	Changed func(object T, gone bool)
	// Broken is told when nothing is heard any more.
	Broken func(err error)

	bell *Bell
	key  func(T) string

	mu     sync.Mutex
	byName map[string]T
	byKey  map[string]map[string]T
	synced bool  // byName is what the cluster has
	err    error // why it may be old
	// version is that of the cluster up to which all is known.
	version string
}

// New gives one that knows nothing. Changes ring the bell with an object's key.
func New[T meta.Object](bell *Bell, key func(T) string) *Mirror[T] {
	return &Mirror[T]{
		Timeout: 30 * time.Second, Changed: func(T, bool) {}, Broken: func(error) {},
		bell: bell, key: key, byName: map[string]T{}, byKey: map[string]map[string]T{},
	}
}

// Get gives the object of the name.
func (m *Mirror[T]) Get(name string) (object T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	object, ok = m.byName[name]
	return object, ok
}

// Of gives the objects that have the key.
func (m *Mirror[T]) Of(key string) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]T, 0, len(m.byKey[key]))
	for _, o := range m.byKey[key] {
		list = append(list, o)
	}
	return list
}

// Heard gives why nothing is heard; nil if all is well, or nothing was asked yet.
func (m *Mirror[T]) Heard() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Reached gives the version of the cluster up to which all is known; "" while it is
// not known what there is.
func (m *Mirror[T]) Reached() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.synced {
		return ""
	}
	return m.version
}

// List gives all that wanted is true of. An error says why it may be old; it waits
// until something is known.
func (m *Mirror[T]) List(ctx context.Context, wanted func(T) bool) (list []T, err error) {
	var stale error
	err = m.bell.Await(ctx, "", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		list, stale = nil, m.err
		if !m.synced && m.err == nil {
			return false
		}
		for _, o := range m.byName {
			if wanted(o) {
				list = append(list, o)
			}
		}
		return true
	})
	return list, errors.Join(err, stale)
}

// Put notes an object that was just made, unless the watch was faster.
func (m *Mirror[T]) Put(object T) {
	m.mu.Lock()
	_, known := m.byName[object.GetName()]
	if !known {
		m.set(object)
	}
	m.mu.Unlock()
	if !known {
		m.bell.ring(m.key(object))
	}
}

// set notes an object. m.mu is held.
func (m *Mirror[T]) set(object T) {
	name, key := object.GetName(), m.key(object)
	if was, ok := m.byName[name]; ok && m.key(was) != key {
		m.drop(was)
	}
	m.byName[name] = object
	if m.byKey[key] == nil {
		m.byKey[key] = map[string]T{}
	}
	m.byKey[key][name] = object
}

// drop forgets an object. m.mu is held.
func (m *Mirror[T]) drop(object T) {
	name, key := object.GetName(), m.key(object)
	delete(m.byName, name)
	delete(m.byKey[key], name)
	if len(m.byKey[key]) == 0 {
		delete(m.byKey, key)
	}
}

// Follow keeps the objects known until ctx ends.
func (m *Mirror[T]) Follow(ctx context.Context, from Source[T]) {
	for wait := time.Duration(0); Pause(ctx, wait); {
		version, err := m.read(ctx, from)
		for err == nil {
			wait = 0
			version, err = m.hear(ctx, from, version)
		}
		if ctx.Err() != nil {
			return
		}
		if kerrors.IsResourceExpired(err) || kerrors.IsGone(err) { // the list has to be read anew
			wait = 0
			continue
		}
		m.mu.Lock()
		m.synced, m.err = false, err
		m.mu.Unlock()
		m.bell.ringAll()
		m.Broken(err)
		wait = min(max(2*wait, 100*time.Millisecond), 5*time.Second)
	}
}

// read reads all of them, and gives the version that a watch begins at.
func (m *Mirror[T]) read(ctx context.Context, from Source[T]) (version string, err error) {
	var all []T
	query := meta.ListOptions{LabelSelector: m.Selector, FieldSelector: m.Fields, Limit: pageSize}
	for {
		bounded, cancel := context.WithTimeout(ctx, m.Timeout)
		page, about, err := from.List(bounded, query)
		cancel()
		if err != nil {
			return "", err
		}
		if m.Passing {
			for _, o := range page {
				m.Changed(o, false)
			}
		} else {
			all = append(all, page...)
		}
		if version, query.Continue = about.GetResourceVersion(), about.GetContinue(); query.Continue == "" {
			break
		}
	}
	changed, gone := m.replace(all, version)
	m.bell.ringAll()
	for _, o := range gone {
		m.Changed(o, true)
	}
	for _, o := range changed {
		m.Changed(o, false)
	}
	return version, nil
}

// replace takes a whole list of a version, and gives what changed and what went.
func (m *Mirror[T]) replace(list []T, version string) (changed, gone []T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.byName
	m.version = version
	m.byName, m.byKey, m.synced, m.err = map[string]T{}, map[string]map[string]T{}, true, nil
	for _, o := range list {
		m.set(o)
		if was, ok := old[o.GetName()]; !ok || was.GetResourceVersion() != o.GetResourceVersion() {
			changed = append(changed, o)
		}
		delete(old, o.GetName())
	}
	for _, o := range old {
		gone = append(gone, o)
	}
	return changed, gone
}

// errClosed means that a watch told what it was not asked for.
var errClosed = errors.New("the watch ended")

// hear takes what a watch tells from the version on, and gives the version it came
// to. Without an error it can be resumed there.
func (m *Mirror[T]) hear(ctx context.Context, from Source[T], version string) (string, error) {
	most := int64(300 + rand.IntN(300))
	w, err := from.Watch(ctx, meta.ListOptions{
		LabelSelector: m.Selector, FieldSelector: m.Fields, ResourceVersion: version, AllowWatchBookmarks: true, TimeoutSeconds: &most,
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
				if !heard && !Pause(ctx, time.Second) { // one that ends at once is no reason to hurry
					return version, ctx.Err()
				}
				return version, nil
			}
			heard = true
			if e.Type == watch.Error {
				return version, kerrors.FromObject(e.Object)
			}
			object, ok := from.View(e.Object)
			if !ok {
				return version, errClosed
			}
			version = object.GetResourceVersion()
			m.take(object, e.Type)
		}
	}
}

// take notes one event.
func (m *Mirror[T]) take(object T, what watch.EventType) {
	gone := what == watch.Deleted
	m.mu.Lock()
	m.version = object.GetResourceVersion()
	if what == watch.Bookmark {
		m.mu.Unlock()
		return
	}
	if m.Passing {
		m.mu.Unlock()
		m.Changed(object, gone)
		return
	}
	if !gone {
		m.set(object)
	} else if old, ok := m.byName[object.GetName()]; ok && old.GetUID() == object.GetUID() {
		m.drop(old)
	}
	m.mu.Unlock()
	m.bell.ring(m.key(object))
	m.Changed(object, gone)
}

// Pause waits; false if ctx ended.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
