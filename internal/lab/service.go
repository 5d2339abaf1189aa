package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// service is what sacrificial agents call: a server of the lab whose behaviour
// the lab changes.
type service struct {
	address string

	mu      sync.Mutex
	server  *http.Server
	delay   time.Duration
	off     time.Duration // how far its clock is
	denied  map[string]bool
	asked   map[string]bool
	refusal string
}

// newService begins to listen.
func newService(ctx context.Context) (*service, error) {
	v := &service{address: "127.0.0.1:0", denied: map[string]bool{}, asked: map[string]bool{}}
	return v, v.open(ctx)
}

// open listens on the address; the first time on a free port.
func (v *service) open(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", v.address)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.address = l.Addr().String()
	v.server = &http.Server{Handler: http.HandlerFunc(v.serve), ReadHeaderTimeout: 5 * time.Second}
	server := v.server
	go func() { _ = server.Serve(l) }()
	return nil
}

// close ends it; nobody listens any more.
func (v *service) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.server.Close()
}

func (v *service) set(change func(v *service)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

// url is where it is.
func (v *service) url() string { return "http://" + v.address + "/" }

func (v *service) serve(w http.ResponseWriter, r *http.Request) {
	proof := r.Header.Get("Authorization")
	v.mu.Lock()
	delay, off, denied, refusal := v.delay, v.off, v.denied[proof], v.refusal
	v.asked[proof] = true
	v.mu.Unlock()
	if delay > 0 && !pause(r.Context(), delay) {
		return
	}
	switch {
	case denied:
		http.Error(w, refusal, http.StatusUnauthorized)
	case off != 0:
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		http.Error(w, refusal, http.StatusForbidden)
	default:
		fmt.Fprintln(w, "ok")
	}
}

// later does something after a while, unless the scene ends before.
func (s *scene) later(d time.Duration, do func()) {
	timer := time.AfterFunc(d, do)
	s.closers = append(s.closers, func() { timer.Stop() })
}
