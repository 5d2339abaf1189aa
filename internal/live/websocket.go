package live

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/waooaw/platform-portal/internal/fault"
)

// What a client may send.
const (
	maxInbound   = 64 << 10 // bytes of one message
	inboundRate  = 5        // messages a second
	inboundBurst = 20
	badCosts     = 5 // a message that can't be followed counts as so many
)

// WebSocket serves one connection until it ends. It returns a fault, and has
// written nothing then, if the request cannot be served.
func (h *Hub) WebSocket(w http.ResponseWriter, r *http.Request) error {
	if err := checkUpgrade(r); err != nil {
		return err
	}
	if err := h.checkOrigin(r); err != nil {
		return err
	}
	req, err := h.accept(r)
	if err != nil {
		return err
	}
	defer h.leave(req.client)
	// The origin was checked above, with an answer that says what is wrong.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		h.cfg.Logger.Debug("live: hand-shake failed", "error", err)
		return nil
	}
	conn.SetReadLimit(maxInbound)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		defer cancel()
		h.listen(ctx, req.client, conn)
	}()
	err = h.run(ctx, req, &socket{conn: conn, timeout: h.cfg.WriteTimeout, gone: cancel})
	h.leave(req.client) // before the parting, which may take the other end's time
	end(conn, req.client.why(), err)
	return nil
}

// end closes with a code that tells the client whether to come back.
func end(conn *websocket.Conn, why cutReason, err error) {
	switch {
	case why == cutSlow:
		_ = conn.Close(websocket.StatusTryAgainLater, "too slow: connect again with since= the last id")
	case why == cutStopping:
		_ = conn.Close(websocket.StatusServiceRestart, "the portal stops: connect again with since= the last id")
	case why == cutSignedOut:
		_ = conn.Close(websocket.StatusPolicyViolation, "access has ended")
	case why == cutAbuse:
		_ = conn.Close(websocket.StatusPolicyViolation, "too many messages, or not understood")
	case err != nil && !errors.Is(err, context.Canceled):
		_ = conn.Close(websocket.StatusInternalError, "connect again with since= the last id")
	default:
		_ = conn.CloseNow()
	}
}

// order is what a client may ask for while connected.
type order struct {
	Subscribe   []string `json:"subscribe"`
	Unsubscribe []string `json:"unsubscribe"`
}

// listen follows the client's orders until the connection ends or it abuses it.
func (h *Hub) listen(ctx context.Context, c *client, conn *websocket.Conn) {
	limit := rate.NewLimiter(inboundRate, inboundBurst)
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return
		}
		cost := 1
		if kind != websocket.MessageText {
			cost = inboundBurst + 1
		} else if err := h.obey(c, data); err != nil {
			cost = badCosts
			c.offer(complaint(err), h.cfg.Queue)
		}
		if !limit.AllowN(time.Now(), cost) {
			c.cut(cutAbuse)
			<-ctx.Done() // run closes the connection with the reason
			return
		}
	}
}

func (h *Hub) obey(c *client, data []byte) error {
	o, err := parseOrder(data)
	if err != nil {
		return err
	}
	if len(o.Subscribe) > 0 {
		if err := authorise(c.who.Role, o.Subscribe); err != nil {
			return err
		}
	}
	return h.change(c, o.Subscribe, o.Unsubscribe)
}

// parseOrder reads a message of a client.
func parseOrder(data []byte) (order, error) {
	bad := fault.New(fault.Invalid, "live.message", "The message was not understood").
		Do(`Send {"subscribe":["agent:ID"]} or {"unsubscribe":["agent:ID"]}.`)
	var o order
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		return order{}, bad
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return order{}, bad.Because("something follows the first JSON object")
	}
	o = order{Subscribe: splitRooms(o.Subscribe), Unsubscribe: splitRooms(o.Unsubscribe)}
	if len(o.Subscribe)+len(o.Unsubscribe) == 0 {
		return order{}, bad.Because("it names no room")
	}
	return o, nil
}

func complaint(err error) *frame {
	f := fault.As(err)
	return notice(-1, eventError, map[string]string{"code": f.Code, "message": f.Error()})
}

// checkUpgrade makes sure that the hand-shake will succeed, so that a wrong
// request gets a proper answer.
func checkUpgrade(r *http.Request) error {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	if headerHas(r, "Connection", "upgrade") && headerHas(r, "Upgrade", "websocket") &&
		r.Header.Get("Sec-WebSocket-Version") == "13" && err == nil && len(key) == 16 && r.ProtoMajor == 1 {
		return nil
	}
	return fault.New(fault.Invalid, "live.not_websocket", "This address speaks WebSocket").
		Because("the request is no WebSocket hand-shake of version 13 over HTTP/1.1").
		Do("Use a WebSocket client, or /api/platform/live/sse for server-sent events.")
}

func headerHas(r *http.Request, name, token string) bool {
	for _, v := range r.Header.Values(name) {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// checkOrigin refuses pages of other sites: a browser sends their user's
// cookies with a WebSocket and asks nobody. Programs send no Origin.
func (h *Hub) checkOrigin(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" {
		if strings.EqualFold(u.Host, r.Host) {
			return nil
		}
		for _, host := range h.cfg.Origins {
			if strings.EqualFold(u.Host, host) || strings.EqualFold(u.Hostname(), host) {
				return nil
			}
		}
	}
	return fault.New(fault.Forbidden, "live.origin_refused", "Pages of other sites may not listen here").
		Because("the request comes from %s", shorten(origin)).
		Do("Add its host to the portal's host names if it belongs to you.")
}

// socket is the wire of a WebSocket.
type socket struct {
	conn    *websocket.Conn
	timeout time.Duration
	gone    context.CancelFunc // called when the other end does not answer
	pinging atomic.Bool
}

func (s *socket) send(ctx context.Context, frames []*frame) error {
	for _, f := range frames {
		if err := s.write(ctx, f.json); err != nil {
			return err
		}
	}
	return nil
}

func (s *socket) beat(ctx context.Context, seq int64) error {
	if s.pinging.CompareAndSwap(false, true) {
		go s.ping(ctx)
	}
	return s.write(ctx, notice(seq, eventHeartbeat, nil).json)
}

// ping finds out whether the other end is still there.
func (s *socket) ping(ctx context.Context) {
	defer s.pinging.Store(false)
	ctx, done := context.WithTimeout(ctx, s.timeout)
	defer done()
	if err := s.conn.Ping(ctx); err != nil {
		s.gone()
	}
}

func (s *socket) write(ctx context.Context, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, b)
}
