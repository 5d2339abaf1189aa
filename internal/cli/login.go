package cli

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
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/fault"
)

func loginCommand(a *app) *cobra.Command {
	var noBrowser bool
	var wait time.Duration
	c := &cobra.Command{
		Use: "login [URL]", Short: "Sign in with the browser", Args: cobra.MaximumNArgs(1),
		Long: "Opens the portal in a browser, where you sign in as always and allow this command line to act for you.\n" +
			"The sign-in is kept for you alone in your directory of configuration and renews itself; all commands use it\n" +
			"until portal logout. A token in PORTAL_TOKEN, PORTAL_TOKEN_FILE or --token-file still wins.",
		Example: "  portal login https://portal.example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait <= 0 {
				return usagef("--wait must be positive")
			}
			if len(args) > 0 {
				a.server = args[0]
			}
			server, err := a.address()
			if err != nil {
				return err
			}
			open := a.io.Open
			if noBrowser {
				open = nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			s, err := a.signIn(ctx, server, open)
			if err != nil {
				return err
			}
			err = a.signInFile().change(cmd.Context(), func(all *signIns) error {
				all.Current, all.Portals[server] = server, s
				return nil
			})
			if err == nil {
				a.say("Signed in to %s.", server)
			}
			return err
		},
	}
	c.Flags().BoolVar(&noBrowser, "no-browser", false, "only print the address")
	c.Flags().DurationVar(&wait, "wait", 5*time.Minute, "how long to wait for you")
	return c
}

func logoutCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "logout [URL]", Short: "End a sign-in made by portal login", Args: cobra.MaximumNArgs(1),
		Long: "Ends the session at the portal and forgets it here. Without an address it is the portal that was signed in to last.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				a.server = args[0]
			}
			server, err := a.address()
			if err != nil {
				return err
			}
			all, err := a.signInFile().read()
			if err != nil {
				return err
			}
			if _, ok := all.Portals[server]; !ok {
				a.say("You were not signed in to %s.", server)
				return nil
			}
			told := a.endSession(cmd.Context(), server)
			err = a.signInFile().change(cmd.Context(), func(all *signIns) error {
				delete(all.Portals, server)
				if all.Current == server {
					all.Current = ""
				}
				return nil
			})
			if err != nil {
				return err
			}
			a.say("Signed out of %s.", server)
			if told != nil && !fault.Is(told, fault.Unauthenticated) {
				fmt.Fprintln(a.io.Err, "Warning: the portal could not be told, so the session stays until it ends by itself. End it there under Settings, Sessions.")
			}
			return nil
		},
	}
}

// endSession tells the portal that the session is not needed any more.
func (a *app) endSession(ctx context.Context, server string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	token, err := a.access(ctx, server)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/auth/logout", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	c := &conn{http: &http.Client{}, server: server}
	_, err = c.read(c.http.Do(r))
	return err
}

// waiting is a command line that waits for the browser to come back.
type waiting struct {
	state    string
	verifier string
	redirect string
	codes    chan string
	refusals chan error
}

// signIn lets the browser at the address sign this command line in.
func (a *app) signIn(ctx context.Context, server string, open func(ctx context.Context, address string) error) (signIn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return signIn{}, fmt.Errorf("wait for the browser: %w", err)
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
	a.invite(ctx, server, w, open)
	select {
	case code := <-w.codes:
		return a.grant(ctx, server, map[string]string{
			"grant_type": "authorization_code", "code": code, "code_verifier": w.verifier, "redirect_uri": w.redirect,
		})
	case err := <-w.refusals:
		return signIn{}, err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return signIn{}, fault.New(fault.Unavailable, "cli.login_timeout", "Nobody signed in").
				Because("the browser did not come back in time").Do("Run portal login again; --wait gives more time.")
		}
		return signIn{}, ctx.Err()
	}
}

// invite opens the browser, and says what to do where that does not work.
func (a *app) invite(ctx context.Context, server string, w *waiting, open func(ctx context.Context, address string) error) {
	sum := sha256.Sum256([]byte(w.verifier))
	address := server + "/auth/cli?" + url.Values{
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		"redirect_uri": {w.redirect}, "state": {w.state},
	}.Encode()
	if open == nil || open(ctx, address) != nil {
		fmt.Fprintf(a.io.Err, "Open this address in a browser:\n\n  %s\n\n", address)
	} else {
		fmt.Fprintf(a.io.Err, "Your browser should open. If it does not, open this address:\n\n  %s\n\n", address)
	}
	if a.io.InTTY {
		fmt.Fprintln(a.io.Err, "If the browser is on another machine, paste the address at which it ends here:")
		go w.paste(bufio.NewScanner(a.io.In))
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

// openBrowser opens the address in the user's browser; it fails where there is
// none to be seen.
func openBrowser(ctx context.Context, address string) error {
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
