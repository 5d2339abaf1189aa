package live

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
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

// compressed is from how many bytes on a message is compressed: a first look at
// many rows, which shrinks to a twentieth. Changes are smaller and come often; to
// compress them would cost more than to send them.
const compressed = 8 << 10

// WebSocket takes one connection over and serves it from then on: what the
// request needed is given back when it returns, and does not stay for as long as
// the connection. It returns a fault, and has written nothing then, if the
// request cannot be served.
//
// A request without a hand-shake is refused in any case. The refusal says first
// whether connections are taken now, because the answer to a hand-shake that fails
// does not reach the scripts of a page.
func (h *Hub) WebSocket(w http.ResponseWriter, r *http.Request) error {
	if err := checkUpgrade(r); err != nil {
		if away := h.taking(); away != nil {
			return away
		}
		return err
	}
	if err := h.checkOrigin(r); err != nil {
		return err
	}
	req, err := h.accept(r)
	if err != nil {
		return err
	}
	// The origin was checked above, with an answer that says what is wrong.
	taken := &hijacker{ResponseWriter: w}
	conn, err := websocket.Accept(taken, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: compressed,
	})
	if err != nil {
		h.leave(req.client)
		h.cfg.Logger.Debug("live: hand-shake failed", "error", err)
		return nil
	}
	conn.SetReadLimit(maxInbound)
	go h.socket(req, conn, taken.conn)
	return nil
}

// socket serves a connection until it ends.
func (h *Hub) socket(req *request, conn *websocket.Conn, under net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		if h.listen(ctx, req.client, conn) {
			drain(under)
		}
	}()
	err := h.run(ctx, req, &socket{conn: conn, under: under, timeout: h.cfg.WriteTimeout, gone: cancel})
	h.leave(req.client) // before the parting, which may take the other end's time
	end(conn, req.client.why(), err)
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

// drain reads the rest of a message that is too big. A connection that is closed
// with something unread is reset, and its client would not be told why.
func drain(conn net.Conn) {
	if conn.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = io.CopyN(io.Discard, conn, 4*maxInbound)
	}
}

// listen follows the client's orders until the connection ends or it abuses it. It
// tells whether more is on its way than was read.
func (h *Hub) listen(ctx context.Context, c *client, conn *websocket.Conn) (more bool) {
	limit := rate.NewLimiter(inboundRate, inboundBurst)
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return errors.Is(err, websocket.ErrMessageTooBig)
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
			return false
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
	under   net.Conn
	timeout time.Duration
	until   time.Time          // the deadline of writes
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

// write is called for every message to every client. A context with a timeout
// for each would cost as much as the writing, so the deadline is the
// connection's own, and set only when less than the timeout is left of it.
func (s *socket) write(_ context.Context, b []byte) error {
	if now := time.Now(); s.until.Sub(now) < s.timeout {
		s.until = now.Add(s.timeout + s.timeout/4)
		if err := s.under.SetWriteDeadline(s.until); err != nil {
			return err
		}
	}
	return s.conn.Write(context.Background(), websocket.MessageText, b)
}

// What one connection keeps for reading and writing; the server's own buffers
// are four times that, for every page that is open. Clients say little, and most of
// what they are told fits.
const (
	readBuffer  = 512
	writeBuffer = 2 << 10
)

// hijacker notes the connection that is taken over.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = conn
	// It may have begun to talk; what it said has to be in the new buffer.
	early := rw.Reader.Buffered()
	reader := bufio.NewReaderSize(io.MultiReader(io.LimitReader(rw.Reader, int64(early)), conn), max(readBuffer, early))
	if _, err := reader.Peek(early); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, bufio.NewReadWriter(reader, bufio.NewWriterSize(conn, writeBuffer)), nil
}
