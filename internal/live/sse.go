package live

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// SSE serves server-sent events until the connection ends. It returns a fault,
// and has written nothing then, if the request cannot be served.
func (h *Hub) SSE(w http.ResponseWriter, r *http.Request) error {
	req, err := h.accept(r)
	if err != nil {
		return err
	}
	defer h.leave(req.client)
	head := w.Header()
	head.Set("Content-Type", "text/event-stream; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no") // or proxies keep events back
	w.WriteHeader(http.StatusOK)
	s := &stream{w: w, control: http.NewResponseController(w), timeout: h.cfg.WriteTimeout}
	if err := s.put(fmt.Appendf(nil, "retry: %d\n\n", reconnect.Milliseconds())); err != nil {
		return nil // the client is gone, nobody is left to tell
	}
	_ = h.run(r.Context(), req, s) // ends with the connection; the client comes back with Last-Event-ID
	return nil
}

// reconnect is how long a browser waits before it comes back.
const reconnect = 2 * time.Second

// stream is the wire of server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (s *stream) send(_ context.Context, frames []*frame) error {
	if len(frames) == 0 {
		return nil
	}
	var out []byte
	if len(frames) == 1 {
		out = frames[0].stream()
	} else {
		for _, f := range frames {
			out = append(out, f.stream()...)
		}
	}
	return s.put(out)
}

// beat is a comment; the id beside it lets a client that heard nothing else
// go on from here.
func (s *stream) beat(_ context.Context, seq int64) error {
	out := []byte(": heartbeat\n")
	if seq >= 0 {
		out = append(strconv.AppendInt(append(out, "id: "...), seq, 10), '\n')
	}
	return s.put(append(out, '\n'))
}

func (s *stream) put(b []byte) error {
	// Not every writer has deadlines; those that have none have buffers.
	_ = s.control.SetWriteDeadline(time.Now().Add(s.timeout))
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.control.Flush()
}
