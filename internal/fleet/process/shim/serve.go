package shim

import (
	"context"
	"encoding/json"
	"net"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// serve answers requests until the listener is closed.
func (s *supervisor) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		go s.answer(conn)
	}
}

func (s *supervisor) answer(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var q Request
	if err := receive(conn, &q); err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	reply, ok := s.take(conn, q)
	if !ok {
		return // the end came first; the caller finds the final state
	}
	defer s.answers.Done()
	r := <-reply
	_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_ = json.NewEncoder(conn).Encode(r)
}

// take hands the request to the loop; the answer comes on the channel.
func (s *supervisor) take(conn net.Conn, q Request) (reply chan Response, ok bool) {
	reply = make(chan Response, 1)
	ok = s.post(func() {
		s.answers.Add(1)
		switch q.Op {
		case OpStatus:
			rec := s.rec
			reply <- Response{Record: &rec}
		case OpStop:
			s.stop(q.Grace, forward(reply))
		case OpRestart:
			s.restart(q.Reason, forward(reply))
		case OpFreeze:
			reply <- Response{Fault: toWire(s.freeze())}
		case OpThaw:
			reply <- Response{Fault: toWire(s.thaw())}
		case OpUsage:
			u := s.usage()
			reply <- Response{Usage: &u}
		case OpExec:
			if err := s.mayExec(); err != nil {
				reply <- Response{Fault: toWire(err)}
				return
			}
			go s.answerExec(conn, q, reply)
		default:
			reply <- Response{Fault: toWire(fault.New(fault.Invalid, "shim.unknown", "the supervisor does not know %q", q.Op))}
		}
	})
	return reply, ok
}

// forward gives a channel whose error becomes the response.
func forward(reply chan Response) chan error {
	c := make(chan error, 1)
	go func() { reply <- Response{Fault: toWire(<-c)} }()
	return c
}

// answerExec runs the command until its timeout, or until the caller leaves.
func (s *supervisor) answerExec(conn net.Conn, q Request, reply chan Response) {
	ctx, cancel := context.WithCancel(context.Background())
	if q.Timeout > 0 {
		ctx, cancel = context.WithTimeout(context.Background(), q.Timeout)
	}
	defer cancel()
	go func() {
		_, _ = conn.Read(make([]byte, 1)) // ends when the caller does
		cancel()
	}()
	reply <- s.exec(ctx, q.Argv)
}
