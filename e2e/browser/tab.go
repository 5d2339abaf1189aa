package browser

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Patience bounds every wait for a page. It is generous, because the machine
// may be busy; what has to be fast is measured elsewhere.
const Patience = 2 * time.Minute

// Tab is one page of one visitor.
type Tab struct {
	ctx    context.Context
	cancel context.CancelFunc
	watch  *watch
}

// Visitor opens a tab that shares cookies and storage with no other.
func (b *Browser) Visitor() (*Tab, error) {
	return newTab(b.ctx, chromedp.WithNewBrowserContext())
}

// Sibling opens another tab of the same visitor. It closes with this one.
func (t *Tab) Sibling() (*Tab, error) { return newTab(t.ctx) }

func newTab(parent context.Context, options ...chromedp.ContextOption) (*Tab, error) {
	ctx, cancel := chromedp.NewContext(parent, options...)
	t := &Tab{ctx: ctx, cancel: cancel, watch: newWatch()}
	if err := t.begin(); err != nil {
		cancel()
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	return t, nil
}

// report tells the console of violations of the content security policy, also
// of those that the browser itself would not write there.
const report = `addEventListener('securitypolicyviolation', e =>
	console.error('violates the content security policy:', e.effectiveDirective, e.blockedURI, e.sourceFile, e.lineNumber, e.sample))`

func (t *Tab) begin() error {
	if err := chromedp.Do(t.ctx); err != nil { // opens it, for as long as the context lives
		return err
	}
	if err := chromedp.Listen(t.ctx, t.watch.see); err != nil {
		return err
	}
	return t.do(func(ctx context.Context) error {
		_, e1 := chromedp.Call(ctx, network.Enable, network.EnableParams{})
		_, e2 := chromedp.Call(ctx, log.Enable, cdp.Empty{})
		_, e3 := chromedp.Call(ctx, audits.Enable, cdp.Empty{})
		_, e4 := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: report})
		return errors.Join(e1, e2, e3, e4)
	})
}

// EachPage runs a script at the beginning of every page from the next one on.
func (t *Tab) EachPage(script string) error {
	return t.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return err
	})
}

// Close closes the tab, and its siblings if it is the visitor's first.
func (t *Tab) Close() { t.cancel() }

// do bounds what is done in the tab.
func (t *Tab) do(fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(t.ctx, Patience)
	defer cancel()
	return fn(ctx)
}

// Open goes to an address and waits until it has loaded.
func (t *Tab) Open(url string) error {
	err := t.do(func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Navigate(url)) })
	if err != nil {
		return fmt.Errorf("open %s: %w", url, err)
	}
	return nil
}

// Status gives the HTTP status of the document that was opened last.
func (t *Tab) Status() int { return t.watch.document() }

// Reload loads the page again.
func (t *Tab) Reload() error {
	return t.do(func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Reload()) })
}

// Back goes one page back in the history of the tab.
func (t *Tab) Back() error {
	_, err := Eval[bool](t, `(history.back(), true)`)
	return err
}

// Eval gives the value of a JavaScript expression; promises are awaited.
func Eval[T any](t *Tab, expression string) (T, error) {
	var out T
	err := t.do(func(ctx context.Context) (err error) {
		out, err = chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
		return err
	})
	if err != nil {
		return out, fmt.Errorf("evaluate %s: %w", short(expression), err)
	}
	return out, nil
}

// Wait asks again and again until the JavaScript condition holds. what says
// what is waited for. It goes on across navigations.
func (t *Tab) Wait(what, condition string) error {
	return t.do(func(ctx context.Context) error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var last error
		for {
			ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+condition+")", chromedp.EvalAwaitPromise))
			if ok {
				return nil
			}
			if ctx.Err() == nil {
				last = err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("waited in vain for %s: %w\n  condition: %s\n  last error: %w\n%s", what, ctx.Err(), short(condition), orNone(last), t.excerpt())
			case <-tick.C:
			}
		}
	})
}

var errNone = errors.New("none")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// excerpt is where the tab is and what it shows, for error messages.
func (t *Tab) excerpt() string {
	ctx, cancel := context.WithTimeout(t.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.pathname + location.search + "\n" + (document.body?.innerText ?? '').slice(0, 1500)`))
	if err != nil {
		return "  the page does not answer: " + err.Error()
	}
	return "  the page shows " + text
}

func short(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

// Cookies gives the visitor's cookies for the address.
func (t *Tab) Cookies(url string) ([]*network.Cookie, error) {
	var out network.GetCookiesResult
	err := t.do(func(ctx context.Context) (err error) {
		out, err = chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{url}})
		return err
	})
	return out.Cookies, err
}

// Remember gives the visitor a cookie that scripts read and write too, on all ports
// of the URL's host.
func (t *Tab) Remember(url, name, value string) error {
	return t.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: url, SameSite: network.CookieSameSiteLax})
		return err
	})
}

// SetCookie gives the visitor a cookie that scripts can't read.
func (t *Tab) SetCookie(url, name, value string) error {
	only := true
	return t.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: name, Value: value, URL: url, HTTPOnly: &only,
			SameSite: network.CookieSameSiteLax})
		return err
	})
}
