// Package browser opens the portal in a real browser, as people do: one
// headless Chromium, visitors with cookies of their own, tabs that are clicked
// and typed into, and everything that went wrong in them. The browser tests and
// the benchmarks of the pages use it.
package browser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/chromedp/chromedp"
)

// programs are where Chromium is looked for. Debian's own starter would add
// flags and keys that a test has no use for.
var programs = []string{"/usr/lib/chromium/chromium", "chromium", "chromium-browser", "google-chrome"}

// ErrMissing says that this machine has no Chromium.
var ErrMissing = errors.New("no Chromium was found; install the package chromium")

// Browser is one running Chromium.
type Browser struct {
	ctx    context.Context
	cancel context.CancelFunc
	pid    int
}

// program gives the path of Chromium, or ErrMissing.
func program() (string, error) {
	for _, name := range programs {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrMissing
}

// Start runs a Chromium that keeps its profile in dir, which must be empty. It
// is spoken to through pipes and is a process group of its own. It ends with
// Close, and also when this process dies.
func Start(dir string) (*Browser, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.WindowSize(1280, 800),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		}),
		// Nothing but this machine is reached, whatever a page asks for.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("password-store", "basic"),
		chromedp.Flag("disable-features", "Translate,MediaRouter,OptimizationHints"),
	}
	for _, name := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync",
		"disable-extensions", "disable-default-apps", "disable-breakpad", "disable-dev-shm-usage", "disable-hang-monitor", "metrics-recording-only",
		// Tabs behind other tabs are to work as the one in front.
		"disable-background-timer-throttling", "disable-backgrounding-occluded-windows", "disable-renderer-backgrounding"} {
		options = append(options, chromedp.Flag(name, true))
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	b := &Browser{ctx: ctx, cancel: func() { cancel(); stop() }}
	if err := chromedp.Do(ctx); err != nil {
		b.cancel()
		return nil, fmt.Errorf("start Chromium: %w", err)
	}
	if p := chromedp.FromContext(ctx).Browser.Process(); p != nil {
		b.pid = p.Pid
	}
	return b, nil
}

// Close ends the browser with every process of its group.
func (b *Browser) Close() {
	limit, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	_ = chromedp.Cancel(limit)
	if b.pid > 0 {
		_ = syscall.Kill(-b.pid, syscall.SIGKILL)
	}
	b.cancel()
}

// Profile makes a directory for a fresh profile; remove deletes it.
func Profile() (dir string, remove func(), err error) {
	if dir, err = os.MkdirTemp("", "portal-browser-"); err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}
