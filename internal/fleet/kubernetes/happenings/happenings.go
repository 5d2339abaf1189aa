// Package happenings remembers for a while what a cluster said went wrong with
// objects: the newest of each, of so many objects and no more.
package happenings

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// most is how many objects something is remembered of, and each how much.
	most = 2000
	each = 4
	// longest is how much of a text is kept.
	longest = 600
)

// Happening is something that went wrong with an object.
type Happening struct {
	meta.ObjectMeta           // of the event itself
	Kind, Name      string    // of the object
	Reason          string    // in the cluster's words, as FailedMount
	Message         string    // of the cluster, bounded
	At              time.Time // last
}

// Of reads it from an event.
func Of(e *corev1.Event) Happening {
	h := Happening{
		ObjectMeta: meta.ObjectMeta{Name: e.Name, UID: e.UID, ResourceVersion: e.ResourceVersion},
		Kind:       e.InvolvedObject.Kind, Name: e.InvolvedObject.Name, Reason: e.Reason, Message: e.Message,
		At: cmp.Or(e.EventTime.UTC(), e.CreationTimestamp.UTC()),
	}
	for _, t := range []time.Time{e.FirstTimestamp.UTC(), e.LastTimestamp.UTC()} {
		if t.After(h.At) {
			h.At = t
		}
	}
	if e.Series != nil && e.Series.LastObservedTime.After(h.At) {
		h.At = e.Series.LastObservedTime.UTC()
	}
	if len(h.Message) > longest {
		h.Message = strings.ToValidUTF8(h.Message[:longest], "") + "…"
	}
	return h
}

// Book remembers happenings. The zero value is ready.
type Book struct {
	mu    sync.Mutex
	of    map[string][]Happening // by name of object, oldest first
	order []string               // names, by when they came first
}

// Note takes one in.
func (b *Book) Note(h Happening) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[string][]Happening{}
	}
	list, known := b.of[h.Name]
	if !known {
		if len(b.order) == most {
			delete(b.of, b.order[0])
			b.order = b.order[1:]
		}
		b.order = append(b.order, h.Name)
	}
	// One goes on, and the newest of its reason says it all.
	list = slices.DeleteFunc(list, func(o Happening) bool {
		return o.Kind == h.Kind && o.Reason == h.Reason && topic(o) == topic(h) && !o.At.After(h.At)
	})
	list = append(list, h)
	slices.SortStableFunc(list, func(x, y Happening) int { return x.At.Compare(y.At) })
	b.of[h.Name] = list[max(0, len(list)-each):]
}

// topic keeps apart what has one reason: an instance may be busy and hang.
func topic(h Happening) string {
	word, _, _ := strings.Cut(h.Message, " ")
	return word
}

// Newest gives the last happening from a time on, of an object that has the name, or
// whose name begins with it and a dash, that wanted is true of.
func (b *Book) Newest(name string, since time.Time, wanted func(Happening) bool) (last Happening, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	look := func(list []Happening) {
		for _, h := range list {
			if !h.At.Before(since) && wanted(h) && (!ok || !h.At.Before(last.At)) {
				last, ok = h, true
			}
		}
	}
	look(b.of[name])
	for other, list := range b.of {
		if strings.HasPrefix(other, name+"-") {
			look(list)
		}
	}
	return last, ok
}
