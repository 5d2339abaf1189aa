// Package login signs the command line in with a browser, and keeps its sign-ins
// for the commands that come later.
package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// signIn is what is kept of one sign-in.
type signIn struct {
	Access  string    `json:"access_token"`
	Expires time.Time `json:"expires"` // of Access
	Refresh string    `json:"refresh_token"`
}

// content is what is in the file of sign-ins.
type content struct {
	// Current is the portal that was signed in to last.
	Current string            `json:"current,omitempty"`
	Portals map[string]signIn `json:"portals"` // by address
}

// PathIn gives the file of sign-ins of the user with the environment; "" where
// there is no directory for configuration.
func PathIn(getenv func(string) string) string {
	dir := getenv("XDG_CONFIG_HOME")
	if home := getenv("HOME"); !filepath.IsAbs(dir) && filepath.IsAbs(home) {
		dir = filepath.Join(home, ".config")
	}
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, "platform-portal", "sign-ins.json")
}

func (k *Keeper) read() (content, error) {
	out := content{Portals: map[string]signIn{}}
	if k.Path == "" {
		return out, nil
	}
	data, err := os.ReadFile(k.Path)
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
		return out, k.unusable(err)
	}
	return out, nil
}

func (k *Keeper) unusable(err error) error {
	return fault.New(fault.Invalid, "cli.sign_ins", "The file of sign-ins %s can't be used", k.Path).
		Because("%v", err).Do("Correct what is wrong with it, or remove it and run: portal login")
}

// change lets one command at a time change the file. Where the change fails
// nothing is stored.
func (k *Keeper) change(ctx context.Context, change func(*content) error) error {
	if k.Path == "" {
		return fault.New(fault.Invalid, "cli.sign_ins", "There is no place to keep a sign-in").
			Because("neither HOME nor XDG_CONFIG_HOME is set").Do("Set one of them, or use PORTAL_TOKEN.")
	}
	if err := os.MkdirAll(filepath.Dir(k.Path), 0o700); err != nil {
		return k.unusable(err)
	}
	unlock, err := k.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := k.read()
	if err != nil {
		return err
	}
	if err := change(&all); err != nil {
		return err
	}
	return k.write(all)
}

// write replaces the file as a whole, so that nobody reads half of it.
func (k *Keeper) write(all content) error {
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("write the sign-ins: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(k.Path), ".sign-ins-*") // for its owner alone
	if err != nil {
		return k.unusable(err)
	}
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), k.Path)
	}
	if err != nil {
		return k.unusable(errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

// lock waits until no other command changes the file.
func (k *Keeper) lock(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(k.Path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, k.unusable(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = file.Close() }, nil // which gives the lock back
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(k.unusable(err), file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-tick.C:
		}
	}
}
