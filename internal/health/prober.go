package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

// Execer runs a command inside an instance, in its environment and limits.
type Execer interface {
	// Exec gives the exit code and the beginning of the output. It ends the
	// command at the context's deadline.
	Exec(ctx context.Context, agentID, instanceID string, command []string) (code int, output string, err error)
}

const (
	probeTimeout = time.Second
	// late is how much after its deadline a probe may end before the answer is
	// blamed on this process, not on the agent: a machine that is too busy to
	// end a timer in time is too busy to judge others.
	late = 400 * time.Millisecond
	// maxBody bounds what is read of an answer, in bytes.
	maxBody = 4096
)

// Answer is what one probe found.
type Answer struct {
	OK      bool
	Reason  string // why not, e.g. "GET /health: 503"; "" if OK
	Latency time.Duration
	// Unsure says that the probe was held up on this side, so that a failure
	// says nothing about the instance.
	Unsure bool
}

// Prober asks instances. The zero value is ready.
type Prober struct{}

// dial connects to an instance and to nobody else, so that no probe, path or
// redirect can make the portal talk to others.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		// Thousands of probes must not leave thousands of sockets in TIME_WAIT.
		_ = tcp.SetLinger(0)
	}
	return c, nil
}

// Probe asks one question, at most for the probe's timeout. exec may be nil if
// the runtime can't run commands inside instances; an exec probe then fails and
// says so.
func (Prober) Probe(ctx context.Context, agentID, instanceID string, p agent.Probe, exec Execer) Answer {
	timeout := p.Timeout.Or(probeTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	err := ask(ctx, agentID, instanceID, p, exec)
	a := Answer{OK: err == nil, Latency: time.Since(began)}
	if err == nil {
		return a
	}
	a.Reason = err.Error()
	if ctx.Err() != nil {
		a.Reason = what(p) + ": no answer within " + timeout.String()
		a.Unsure = a.Latency > timeout+late || errors.Is(context.Cause(ctx), context.Canceled)
	}
	return a
}

func ask(ctx context.Context, agentID, instanceID string, p agent.Probe, exec Execer) error {
	switch {
	case p.HTTP != nil:
		return askHTTP(ctx, p.HTTP)
	case p.TCP != nil:
		return askTCP(ctx, p.TCP)
	case p.Exec != nil:
		return askExec(ctx, agentID, instanceID, p.Exec, exec)
	}
	return errors.New("the probe asks nothing: it has no http, tcp or exec")
}

// what names the question in reasons.
func what(p agent.Probe) string {
	switch {
	case p.HTTP != nil:
		return "GET " + pathOf(p.HTTP)
	case p.TCP != nil:
		return "connect to port " + string(p.TCP.Port)
	case p.Exec != nil && len(p.Exec.Command) > 0:
		return "exec " + p.Exec.Command[0]
	}
	return "probe"
}

func pathOf(p *agent.HTTPProbe) string {
	if !strings.HasPrefix(p.Path, "/") {
		return "/" + p.Path
	}
	return p.Path
}

func askHTTP(ctx context.Context, p *agent.HTTPProbe) error {
	port, ok := p.Port.Number()
	if !ok {
		return fmt.Errorf("GET %s: %q is not a port", pathOf(p), p.Port)
	}
	address, err := agent.Address(p.Host, port)
	if err != nil {
		return fmt.Errorf("GET %s: %w", pathOf(p), err)
	}
	target, err := url.Parse("http://" + address + pathOf(p))
	if err != nil {
		return fmt.Errorf("GET %s: not a path", pathOf(p))
	}
	// A connection of its own each time: one that is kept open would occupy an
	// agent that serves one client at a time. Redirects are answers, not orders.
	t := &http.Transport{
		Proxy:                  nil,
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, address) },
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	req := (&http.Request{Method: http.MethodGet, URL: target, Host: target.Host,
		Header: http.Header{"User-Agent": {"platform-portal-probe"}}}).WithContext(ctx)
	resp, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("GET %s: %s", pathOf(p), plain(err))
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody))
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("GET %s: %d", pathOf(p), resp.StatusCode)
	}
	return nil
}

func askTCP(ctx context.Context, p *agent.TCPProbe) error {
	port, ok := p.Port.Number()
	if !ok {
		return fmt.Errorf("connect: %q is not a port", p.Port)
	}
	address, err := agent.Address(p.Host, port)
	if err != nil {
		return fmt.Errorf("connect to port %d: %w", port, err)
	}
	c, err := dial(ctx, address)
	if err != nil {
		return fmt.Errorf("connect to port %d: %s", port, plain(err))
	}
	return c.Close()
}

func askExec(ctx context.Context, agentID, instanceID string, p *agent.ExecProbe, exec Execer) error {
	if len(p.Command) == 0 {
		return errors.New("exec: the probe has no command")
	}
	if exec == nil {
		return fmt.Errorf("exec %s: this runtime can't run commands inside instances", p.Command[0])
	}
	code, output, err := exec.Exec(ctx, agentID, instanceID, p.Command)
	if err != nil {
		return fmt.Errorf("exec %s: %s", p.Command[0], plain(err))
	}
	if code != 0 {
		reason := fmt.Sprintf("exec %s: exit code %d", p.Command[0], code)
		if first := firstLine(output); first != "" {
			reason += ": " + first
		}
		return errors.New(reason)
	}
	return nil
}

// plain gives the innermost reason, without the addresses that wrap it.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	text := err.Error()
	if i := strings.LastIndex(text, "connect: "); i >= 0 {
		text = text[i+len("connect: "):]
	}
	return text
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.ToValidUTF8(s, "")
}
