package login

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// waiting is a command line that waits for the browser to come back.
type waiting struct {
	state    string
	verifier string
	redirect string
	codes    chan string
	refusals chan error
}

// Invitation is how the user gets to a browser.
type Invitation struct {
	// Open shows an address in a browser; nil where there is none.
	Open func(ctx context.Context, address string) error
	Out  io.Writer // tells the user what to do
	// Paste is where the user pastes the address at which a browser on another
	// machine ends; nil where nobody can.
	Paste io.Reader
}

// SignIn lets the user sign in to the portal at the address with a browser, and
// keeps the sign-in. Faults: Forbidden if they refuse, Unavailable if they do not
// come back before ctx is over.
func (k *Keeper) SignIn(ctx context.Context, server string, how Invitation) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("wait for the browser: %w", err)
	}
	w := &waiting{state: rand.Text(), verifier: rand.Text() + rand.Text(), redirect: "http://" + l.Addr().String() + "/done",
		codes: make(chan string, 1), refusals: make(chan error, 1)}
	back := &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = back.Serve(l) }()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = back.Shutdown(ctx) // lets the browser have its last page
		_ = back.Close()
	}()
	w.invite(ctx, server, how)
	select {
	case code := <-w.codes:
		return k.trade(ctx, server, map[string]string{
			"grant_type": "authorization_code", "code": code, "code_verifier": w.verifier, "redirect_uri": w.redirect,
		})
	case err := <-w.refusals:
		return err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fault.New(fault.Unavailable, "cli.login_timeout", "Nobody signed in").
				Because("the browser did not come back in time").Do("Run portal login again; --wait gives more time.")
		}
		return ctx.Err()
	}
}

// trade gets the tokens for the code and keeps them.
func (k *Keeper) trade(ctx context.Context, server string, form map[string]string) error {
	s, err := k.ask(ctx, server, form)
	if err != nil {
		return err
	}
	return k.change(ctx, func(all *content) error {
		all.Current, all.Portals[server] = server, s
		return nil
	})
}

// invite opens the browser, and says what to do where that does not work.
func (w *waiting) invite(ctx context.Context, server string, how Invitation) {
	sum := sha256.Sum256([]byte(w.verifier))
	address := server + "/auth/cli?" + url.Values{
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		"redirect_uri": {w.redirect}, "state": {w.state},
	}.Encode()
	if how.Open == nil || how.Open(ctx, address) != nil {
		fmt.Fprintf(how.Out, "Open this address in a browser:\n\n  %s\n\n", address)
	} else {
		fmt.Fprintf(how.Out, "Your browser should open. If it does not, open this address:\n\n  %s\n\n", address)
	}
	if how.Paste != nil {
		fmt.Fprintln(how.Out, "If the browser is on another machine, paste the address at which it ends here:")
		go w.paste(bufio.NewScanner(how.Paste))
	}
}

// paste takes the address that a browser on another machine could not open.
func (w *waiting) paste(lines *bufio.Scanner) {
	for lines.Scan() {
		if u, err := url.Parse(strings.TrimSpace(lines.Text())); err == nil && w.take(u.Query()) {
			return
		}
	}
}

// take takes what the browser brings, once, and tells whether it is for us.
func (w *waiting) take(q url.Values) bool {
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(w.state)) != 1 {
		return false
	}
	if code := q.Get("code"); code != "" {
		select {
		case w.codes <- code:
		default: // it came before
		}
		return true
	}
	select {
	case w.refusals <- fault.New(fault.Forbidden, "cli.login_refused", "The sign-in was refused in the browser").Do("Run portal login again."):
	default:
	}
	return true
}

// ServeHTTP takes the browser back.
func (w *waiting) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	h := out.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Connection", "close") // nothing comes after it
	title, text, status := "You are signed in", "The command line goes on. You can close this window.", http.StatusOK
	switch {
	case r.Method != http.MethodGet || r.URL.Path != "/done" || r.Host != strings.TrimSuffix(strings.TrimPrefix(w.redirect, "http://"), "/done") || !w.take(r.URL.Query()):
		title, text, status = "This is not for us", "The address does not belong to the sign-in that this command line waits for.", http.StatusBadRequest
	case r.URL.Query().Get("code") == "":
		title, text = "Not signed in", "The command line was not allowed to act for you. You can close this window."
	}
	out.WriteHeader(status)
	fmt.Fprintf(out, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>%[1]s</title><h1>%[1]s</h1><p>%[2]s</p></html>\n",
		html.EscapeString(title), html.EscapeString(text))
}

// Open opens the address in the user's browser; it fails where there is
// none to be seen.
func Open(ctx context.Context, address string) error {
	program := "xdg-open"
	if runtime.GOOS == "darwin" {
		program = "open"
	} else if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return errors.New("no display")
	}
	cmd := exec.CommandContext(ctx, program, address) //nolint:gosec // the address begins with http
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
