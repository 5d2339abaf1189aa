package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/cli/client"
	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	defaultServer = "http://127.0.0.1:8080"
	// maxAnswer bounds what is read of one answer.
	maxAnswer = 256 << 20
	// patience is how long one plain request may take.
	patience = time.Minute
)

// conn is a connection to a portal.
type conn struct {
	api    *client.Client
	http   *http.Client
	server string
	edit   client.RequestEditorFn
}

// address finds out which portal is meant: the one that was named, or the one
// that was signed in to last.
func (a *app) address() (string, error) {
	server := a.server
	if server == "" {
		server = a.io.Getenv("PORTAL_URL")
	}
	if server == "" {
		var err error
		if server, err = a.signIns().Current(); err != nil {
			return "", err
		}
	}
	if server == "" {
		server = defaultServer
	}
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fault.New(fault.Invalid, "cli.server", "%q is not the address of a portal", server).
			Do("Set PORTAL_URL or --server to something like %s.", defaultServer)
	}
	return strings.TrimRight(server, "/"), nil
}

// connect finds out which portal is meant and with which token.
func (a *app) connect() (*conn, error) {
	if err := a.checkOutput(); err != nil {
		return nil, err
	}
	server, err := a.address()
	if err != nil {
		return nil, err
	}
	bearer, err := a.bearer(server)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(server); err == nil && bearer != nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		fmt.Fprintln(a.io.Err, "Warning: the token goes over the network unencrypted; use https.")
	}
	edit := func(ctx context.Context, r *http.Request) error {
		r.Header.Set("User-Agent", "portal/"+a.deps.Version.Version)
		if bearer != nil {
			token, err := bearer(ctx)
			if err != nil {
				return err
			}
			r.Header.Set("Authorization", "Bearer "+token)
		}
		if r.Method != http.MethodGet && r.Header.Get("Idempotency-Key") == "" {
			r.Header.Set("Idempotency-Key", rand.Text())
		}
		return nil
	}
	c := &conn{http: &http.Client{}, server: server, edit: edit}
	c.api, err = client.NewClient(c.server, client.WithHTTPClient(c.http), client.WithRequestEditorFn(edit))
	return c, err
}

// bearer gives what finds the token of each request: a token that was given, or
// else that of portal login; nil where there is none.
func (a *app) bearer(server string) (func(ctx context.Context) (string, error), error) {
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	if token != "" {
		return func(context.Context) (string, error) { return token, nil }, nil
	}
	if signedIn, err := a.signIns().Has(server); err != nil || !signedIn {
		return nil, err
	}
	return func(ctx context.Context) (string, error) { return a.signIns().Access(ctx, server) }, nil
}

func (a *app) token() (string, error) {
	file := a.tokenFile
	if file == "" && a.io.Getenv("PORTAL_TOKEN") == "" {
		file = a.io.Getenv("PORTAL_TOKEN_FILE")
	}
	token := a.io.Getenv("PORTAL_TOKEN")
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fault.New(fault.Invalid, "cli.token_file", "The token could not be read").Because("%v", err)
		}
		token = string(data)
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fault.New(fault.Invalid, "cli.token", "The token is not valid").
			Because("it holds spaces or characters that no token has").Do("Set PORTAL_TOKEN to the token alone.")
	}
	return token, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// read gives the body of a successful answer; anything else is a fault.
func (c *conn) read(r *http.Response, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		return nil, c.unreachable(err)
	}
	if r.StatusCode >= http.StatusMultipleChoices {
		return nil, c.problem(r, body)
	}
	return body, nil
}

// decode reads the body of a successful answer into v.
func (c *conn) decode(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return c.notAPortal(err)
	}
	return nil
}

func (c *conn) notAPortal(err error) error {
	return fault.New(fault.Unavailable, "cli.answer", "The answer of %s is not that of a portal", c.server).
		Do("Check the address; a proxy may have answered in its place.").Wrap(err)
}

// unreachable turns an error of the network into a fault; one that comes from
// the user's own context stays what it is.
func (c *conn) unreachable(err error) error {
	if errors.Is(err, context.Canceled) || fault.As(err) != nil { // the latter when there is no token to send
		return err
	}
	f := fault.New(fault.Unavailable, "cli.unreachable", "The portal at %s does not answer", c.server).Wrap(err)
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return f.Because("no answer within the time limit").Do("Try again; if it persists look at the portal's log.")
	}
	return f.Because("%v", err).Do("Start it with \"portal serve\", or set PORTAL_URL to where it is.")
}

// statusKinds gives the kind of fault of an HTTP status.
var statusKinds = map[int]fault.Kind{
	http.StatusBadRequest: fault.Invalid, http.StatusUnprocessableEntity: fault.Invalid,
	http.StatusUnauthorized: fault.Unauthenticated, http.StatusForbidden: fault.Forbidden,
	http.StatusNotFound: fault.NotFound, http.StatusConflict: fault.Conflict,
	http.StatusPreconditionFailed: fault.Stale, http.StatusRequestEntityTooLarge: fault.TooLarge,
	http.StatusTooManyRequests: fault.RateLimited, http.StatusServiceUnavailable: fault.Unavailable,
	http.StatusBadGateway: fault.Unavailable, http.StatusGatewayTimeout: fault.Unavailable,
}

// problem turns an answer of RFC 9457 into a fault.
func (c *conn) problem(r *http.Response, body []byte) error {
	kind, ok := statusKinds[r.StatusCode]
	if !ok {
		kind = fault.Internal
	}
	var p struct {
		Title, Detail, Code, What, Why, Remedy string
		Errors                                 []fault.Field
		RequestID                              string `json:"request_id"`
	}
	if json.Unmarshal(body, &p) != nil || (p.What == "" && p.Detail == "" && p.Title == "") {
		return fault.New(kind, "cli.status", "%s answered %s", c.server, r.Status).
			Do("Check the address; a proxy may have answered in its place.")
	}
	f := &fault.Error{Kind: kind, Code: p.Code, What: p.What, Why: p.Why, Remedy: p.Remedy, Fields: p.Errors}
	if f.What == "" {
		f.What, f.Why = p.Title, p.Detail
	}
	if kind == fault.Unauthenticated { // what the server says is meant for those who write requests
		f.Remedy = "Run \"portal login\", or set PORTAL_TOKEN; on the portal's machine \"portal token create\" makes one."
	}
	return f
}

// ctx bounds a plain request.
func plain(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, patience)
}

// The exit codes, so that scripts can tell what to do next.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitAccess      = 4
	exitConflict    = 5
	exitUnavailable = 6
	exitInterrupted = 130
)

const exitCodesHelp = `Exit codes: 0 done; 1 failed; 2 wrong usage or invalid input (and: apply --dry-run found changes);
3 not found; 4 no or insufficient access; 5 conflict or changed by somebody else meanwhile;
6 the server does not answer, is overloaded, or a time limit passed; 130 interrupted.`

// usageError is a command that was written wrongly.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// codeError ends the command with a code and without a message: everything
// was said already.
type codeError int

func (e codeError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// finish reports the error and gives the exit code.
func (a *app) finish(ctx context.Context, err error) int {
	var code codeError
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err())):
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintln(a.io.Err, "Error:", clean(usage.Error()))
		fmt.Fprintln(a.io.Err, "See:", cmp.Or(a.at, "portal"), "--help")
		return exitUsage
	}
	a.printError(err)
	return exitCode(err)
}

func exitCode(err error) int {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.TooLarge:
		return exitUsage
	case fault.Unauthenticated, fault.Forbidden:
		return exitAccess
	case fault.NotFound:
		return exitNotFound
	case fault.Conflict, fault.Stale:
		return exitConflict
	case fault.Unavailable, fault.RateLimited:
		return exitUnavailable
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return exitUnavailable
	}
	return exitFailed
}

// printError shows what happened, why, where, and what to do.
func (a *app) printError(err error) {
	f := fault.As(err)
	if f == nil {
		fmt.Fprintln(a.io.Err, "Error:", clean(err.Error()))
		return
	}
	fmt.Fprint(a.io.Err, faultText("Error: ", f))
}

func faultText(head string, f *fault.Error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n", head, clean(f.What))
	if f.Why != "" {
		fmt.Fprintf(&b, "  Why: %s\n", clean(f.Why))
	}
	for _, field := range f.Fields {
		fmt.Fprintf(&b, "  %s: %s\n", clean(field.Path), clean(field.Message))
	}
	if f.Remedy != "" {
		fmt.Fprintf(&b, "  Do: %s\n", clean(f.Remedy))
	}
	return b.String()
}

// missing is the answer of a local command that this build lacks.
func missing(what string) error {
	return fault.New(fault.Invalid, "cli.not_built_in", "This program was built without %q", what).
		Do("Use the portal program of a release.")
}
