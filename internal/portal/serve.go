// Package portal puts the program together: configuration, engines, services,
// servers. It is the only place that knows all of them.
package portal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Build says which program this is.
type Build struct {
	Version string
	Commit  string
	Date    string
	Self    string // path of this program, which is also the shim and the built-in agents
}

// stopTimeout bounds a graceful stop. Agents are not stopped with the portal.
const stopTimeout = 20 * time.Second

// linkLife is how long the sign-in link printed at the start is good.
const linkLife = auth.DefaultLinkLife

// Serve runs the portal until ctx ends, then stops it gracefully; the agents go
// on. It prints the address and a one-time sign-in link to out, and logs to logs.
func Serve(ctx context.Context, cfg Config, build Build, out, logs io.Writer) error {
	ownLog := &recent{}
	log := newLogger(cfg, io.MultiWriter(logs, ownLog))
	lock, err := lockData(cfg.Data)
	if err != nil {
		return err
	}
	defer lock.Close()
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return listenFault(cfg.Listen, err)
	}
	defer listener.Close()
	if err := cfg.bound(listener.Addr()); err != nil {
		return err
	}
	a, err := assemble(ctx, cfg, build, log, ownLog)
	if err != nil {
		return err
	}
	defer a.close()
	failed, stop := a.serveHTTP(listener)
	if err := a.start(ctx); err != nil {
		return errors.Join(err, stop())
	}
	a.announce(ctx, out)
	select {
	case <-ctx.Done():
		log.Info("stopping; agents go on")
		err = nil
	case err = <-failed:
	}
	return errors.Join(err, stop(), a.stop())
}

// bound completes what depends on the port that the system chose for port 0.
func (c *Config) bound(addr net.Addr) error {
	_, asked, err := net.SplitHostPort(c.Listen)
	if err != nil || asked != "0" {
		return err
	}
	c.Listen, c.PublicURL = addr.String(), ""
	return c.complete()
}

func newLogger(cfg Config, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.LogLevel)) // checked when it was loaded
	o := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func listenFault(addr string, err error) error {
	f := fault.New(fault.Conflict, "listen.refused", "The portal can't listen on %s", addr).Wrap(err)
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return f.Because("%s", sys.Err).Do("Choose another address with --listen, or stop what uses it.")
	}
	return f.Because("%s", err).Do("Choose another address with --listen.")
}

// serveHTTP serves on the listener; it answers /healthz and problems from the
// start, everything else once the services run.
func (a *app) serveHTTP(l net.Listener) (failed <-chan error, stop func() error) {
	server := &http.Server{
		Handler: a.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	var early silent
	server.ConnState = early.note
	server.RegisterOnShutdown(early.close)
	errs := make(chan error, 1)
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			errs <- fmt.Errorf("http server: %w", err)
		}
	}()
	return errs, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		a.draining()
		if err := server.Shutdown(ctx); err != nil {
			return server.Close() // streams that did not end by themselves
		}
		return nil
	}
}

// silent are connections over which nothing has come yet. Browsers open them in
// advance; a server that stops would wait five seconds for each to say something,
// and the pages would be without their portal for so much longer.
type silent struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func (s *silent) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != http.StateNew {
		delete(s.conns, c)
		return
	}
	if s.conns == nil {
		s.conns = map[net.Conn]struct{}{}
	}
	s.conns[c] = struct{}{}
}

func (s *silent) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// announce tells the operator where the portal is and how to get in.
func (a *app) announce(ctx context.Context, out io.Writer) {
	fmt.Fprintf(out, "Portal %s is ready on %s\n", a.build.Version, a.cfg.PublicURL)
	code, err := a.auth.NewLink(auth.With(ctx, auth.System), auth.Admin, linkLife)
	if err != nil {
		a.log.Error("can't make a sign-in link", "err", err)
		return
	}
	fmt.Fprintf(out, "Sign in once, within %d minutes: %s/auth/link/%s\n", int(linkLife.Minutes()), a.cfg.PublicURL, code)
}
