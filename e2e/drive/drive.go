// Package drive runs the built portal as a user would: as a process of its
// own, reached over HTTP alone. The black-box tests and the benchmarks use it.
package drive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Portal is one portal on its own data directory. Restarting it keeps
// directory, address and token.
type Portal struct {
	Bin   string // the built program
	Data  string // its data directory
	URL   string // where it listens
	Token string // of an admin
	Log   string // file that takes its output

	listen string
	extra  []string
	cmd    *exec.Cmd
	done   chan error
	client *http.Client
}

// New prepares a portal in dir on a free loopback port; nothing runs yet. The
// further arguments go to serve.
func New(bin, dir string, args ...string) (*Portal, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	return &Portal{
		Bin: bin, Data: filepath.Join(dir, "data"), URL: "http://" + addr, listen: addr, extra: args,
		Log: filepath.Join(dir, "portal.log"), client: &http.Client{Transport: transport},
	}, nil
}

// Start runs the portal and returns once it is ready, or with the end of its
// output if it ends before.
func (p *Portal) Start(ctx context.Context) error {
	if err := p.Launch(); err != nil {
		return err
	}
	if err := p.WaitReady(ctx); err != nil {
		return err
	}
	if p.Token != "" {
		return nil
	}
	out, err := p.Run(ctx, "token", "create", "--role", "admin", "--name", "driver", "--data", p.Data)
	if err != nil {
		return err
	}
	p.Token = strings.TrimSpace(out)
	return nil
}

// environ is what programs get. One that was built for it notes what it covers
// in PORTAL_COVERDIR; GOCOVERDIR itself belongs to the test that runs.
func environ() []string {
	return append(os.Environ(), "GOCOVERDIR="+os.Getenv("PORTAL_COVERDIR"))
}

// Launch runs the portal and returns at once.
func (p *Portal) Launch() error {
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	args := append([]string{"serve", "--data", p.Data, "--listen", p.listen}, p.extra...)
	p.cmd = exec.Command(p.Bin, args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = out, out, environ()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	p.done = done
	cmd := p.cmd
	go func() { done <- cmd.Wait() }()
	return nil
}

// Args adds arguments of serve, from the next start on.
func (p *Portal) Args(args ...string) { p.extra = append(p.extra, args...) }

// WaitReady polls /readyz until it answers 200.
func (p *Portal) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := p.client.Get(p.URL + "/readyz")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-p.done:
			p.done <- err
			return fmt.Errorf("the portal ended before it was ready: %w\n%s", err, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("the portal is not ready: %w\n%s", ctx.Err(), p.Tail())
		case <-tick.C:
		}
	}
}

var signInLink = regexp.MustCompile(`http://\S+/auth/link/\S+`)

// SignInLink gives the link that the portal printed at its last start. It signs
// a browser in once.
func (p *Portal) SignInLink() (string, error) {
	out, err := os.ReadFile(p.Log)
	if err != nil {
		return "", err
	}
	links := signInLink.FindAllString(string(out), -1)
	if len(links) == 0 {
		return "", errors.New("the portal printed no sign-in link")
	}
	return links[len(links)-1], nil
}

// Up tells whether the portal was started and not ended through Kill9 or Stop.
func (p *Portal) Up() bool { return p.cmd != nil }

// PID is the process id of the running portal.
func (p *Portal) PID() int { return p.cmd.Process.Pid }

// Kill9 ends the portal as a crash would and waits until it is gone.
func (p *Portal) Kill9() error { return p.end(syscall.SIGKILL) }

// Stop ends the portal gracefully and waits until it is gone.
func (p *Portal) Stop() error { return p.end(syscall.SIGTERM) }

func (p *Portal) end(sig syscall.Signal) error {
	if p.cmd == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("the portal did not end on %s within 60 s\n%s", sig, p.Tail())
	}
	p.cmd = nil
	p.client.CloseIdleConnections()
	return nil
}

// Run calls the command line with PORTAL_URL and PORTAL_TOKEN set, and gives
// its standard output.
func (p *Portal) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.Bin, args...)
	cmd.Env = append(environ(), "PORTAL_URL="+p.URL, "PORTAL_TOKEN="+p.Token)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("portal %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// Problem is an answer that is not a success.
type Problem struct {
	Status int
	Body   []byte
}

func (p *Problem) Error() string { return fmt.Sprintf("answer %d: %s", p.Status, p.Body) }

// StatusOf gives the HTTP status of a Problem in err's chain, else 0.
func StatusOf(err error) int {
	var p *Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

// Call sends one request to /api/platform and decodes a JSON answer into out
// (unless nil). Header values come in pairs.
func (p *Portal) Call(ctx context.Context, method, path string, body, out any, header ...string) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.URL+"/api/platform"+path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.Token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return &Problem{Status: resp.StatusCode, Body: b}
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, out)
}

// Tail gives the last 4 KiB of the portal's output.
func (p *Portal) Tail() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return ""
	}
	if len(b) > 4096 {
		b = b[len(b)-4096:]
	}
	return string(b)
}
