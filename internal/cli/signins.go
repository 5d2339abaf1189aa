package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// signIn is what is kept of a sign-in made by portal login.
type signIn struct {
	Access  string    `json:"access_token"`
	Expires time.Time `json:"expires"` // of Access
	Refresh string    `json:"refresh_token"`
}

// signIns is the content of the file of sign-ins.
type signIns struct {
	// Current is the portal that was signed in to last.
	Current string            `json:"current,omitempty"`
	Portals map[string]signIn `json:"portals"` // by address
}

// early is how long before its end an access token is replaced.
const early = 30 * time.Second

// signInFile is where sign-ins are kept, for this user alone. Several commands
// may use it at once.
type signInFile struct{ path string }

// signInFile gives the file; without a path where the user has no directory for
// configuration.
func (a *app) signInFile() signInFile {
	dir := a.io.Getenv("XDG_CONFIG_HOME")
	if home := a.io.Getenv("HOME"); !filepath.IsAbs(dir) && filepath.IsAbs(home) {
		dir = filepath.Join(home, ".config")
	}
	if !filepath.IsAbs(dir) {
		return signInFile{}
	}
	return signInFile{filepath.Join(dir, "platform-portal", "sign-ins.json")}
}

func (f signInFile) read() (signIns, error) {
	out := signIns{Portals: map[string]signIn{}}
	if f.path == "" {
		return out, nil
	}
	data, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if out.Portals == nil {
		out.Portals = map[string]signIn{}
	}
	if err != nil {
		return out, f.unusable(err)
	}
	return out, nil
}

func (f signInFile) unusable(err error) error {
	return fault.New(fault.Invalid, "cli.sign_ins", "The file of sign-ins %s can't be used", f.path).
		Because("%v", err).Do("Correct what is wrong with it, or remove it and run: portal login")
}

// change lets one command at a time change the file. Where the change fails
// nothing is stored.
func (f signInFile) change(ctx context.Context, change func(*signIns) error) error {
	if f.path == "" {
		return fault.New(fault.Invalid, "cli.sign_ins", "There is no place to keep a sign-in").
			Because("neither HOME nor XDG_CONFIG_HOME is set").Do("Set one of them, or use PORTAL_TOKEN.")
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return f.unusable(err)
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := f.read()
	if err != nil {
		return err
	}
	if err := change(&all); err != nil {
		return err
	}
	return f.write(all)
}

// write replaces the file as a whole, so that nobody reads half of it.
func (f signInFile) write(all signIns) error {
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("write the sign-ins: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), ".sign-ins-*") // for its owner alone
	if err != nil {
		return f.unusable(err)
	}
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		return f.unusable(errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

// lock waits until no other command changes the file.
func (f signInFile) lock(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, f.unusable(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = file.Close() }, nil // which gives the lock back
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(f.unusable(err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-tick.C:
		}
	}
}

// access gives an access token for the portal, getting a new one if what is kept
// ends soon. Unauthenticated if the sign-in is over.
func (a *app) access(ctx context.Context, server string) (string, error) {
	f := a.signInFile()
	all, err := f.read()
	if err != nil {
		return "", err
	}
	if s, ok := all.Portals[server]; ok && a.io.Now().Before(s.Expires.Add(-early)) {
		return s.Access, nil
	}
	var token string
	var over error
	err = f.change(ctx, func(all *signIns) error {
		s, ok := all.Portals[server]
		if !ok {
			return signInOver(server) // another command signed out meanwhile
		}
		if a.io.Now().Before(s.Expires.Add(-early)) { // another command got it meanwhile
			token = s.Access
			return nil
		}
		fresh, err := a.grant(ctx, server, map[string]string{"grant_type": "refresh_token", "refresh_token": s.Refresh})
		if fault.Is(err, fault.Unauthenticated) {
			delete(all.Portals, server)
			over = signInOver(server)
			return nil
		}
		if err != nil {
			return err
		}
		token, all.Portals[server] = fresh.Access, fresh
		return nil
	})
	if err == nil {
		err = over
	}
	return token, err
}

func signInOver(server string) error {
	return fault.New(fault.Unauthenticated, "cli.sign_in_over", "You are not signed in to %s any more", server).
		Do("Run: portal login %s", server)
}

// grant asks the portal for tokens.
func (a *app) grant(ctx context.Context, server string, form map[string]string) (signIn, error) {
	body, err := json.Marshal(form)
	if err != nil {
		return signIn{}, fmt.Errorf("write the request: %w", err)
	}
	ctx, cancel := plain(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/auth/token", bytes.NewReader(body))
	if err != nil {
		return signIn{}, fmt.Errorf("make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "portal/"+a.deps.Version.Version)
	c := &conn{http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, server: server}
	resp, err := c.http.Do(r)
	if err != nil {
		return signIn{}, c.unreachable(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return signIn{}, c.unreachable(err)
	}
	if resp.StatusCode != http.StatusOK {
		return signIn{}, c.problem(resp, data)
	}
	var got struct {
		Access    string `json:"access_token"`
		Refresh   string `json:"refresh_token"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := c.decode(data, &got); err != nil {
		return signIn{}, err
	}
	if got.Access == "" || got.Refresh == "" || got.ExpiresIn <= 0 {
		return signIn{}, c.notAPortal(errors.New("the grant is not complete"))
	}
	return signIn{Access: got.Access, Refresh: got.Refresh, Expires: a.io.Now().Add(time.Duration(got.ExpiresIn) * time.Second)}, nil
}
