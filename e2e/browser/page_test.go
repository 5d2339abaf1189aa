package browser_test

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/browser"
)

// tab is a tab whose every step has to succeed.
type tab struct {
	*browser.Tab
	t *testing.T
}

// visit opens a tab of a new visitor, closed with the test.
func visit(t *testing.T) *tab {
	t.Helper()
	b, err := chromium.Visitor()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	for _, host := range []string{"http://127.0.0.1", "http://localhost"} { // prefer gives them a theme
		if err := b.Remember(host, "portal_theme", "system"); err != nil {
			t.Fatal(err)
		}
	}
	return &tab{b, t}
}

func (p *tab) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) open(url string)               { p.t.Helper(); p.must(p.Open(url)) }
func (p *tab) click(selector string)         { p.t.Helper(); p.must(p.Click(selector)) }
func (p *tab) press(keys ...string)          { p.t.Helper(); p.must(p.Press(keys...)) }
func (p *tab) fill(selector, text string)    { p.t.Helper(); p.must(p.Fill(selector, text)) }
func (p *tab) wait(what, condition string)   { p.t.Helper(); p.must(p.Wait(what, condition)) }
func (p *tab) resize(size browser.Size)      { p.t.Helper(); p.must(p.Resize(size)) }
func (p *tab) prefer(pr browser.Preferences) { p.t.Helper(); p.must(p.Prefer(pr)) }

// eval gives the value of an expression.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := browser.Eval[T](p.Tab, expression)
	p.must(err)
	return v
}

// otherNetworks is what the browser says when it breaks off a request because the
// machine got or lost an address: engines of other tests make networks meanwhile.
const otherNetworks = "ERR_NETWORK_CHANGED"

// clean fails the test if anything went wrong in the tab that was not expected.
func (p *tab) clean(expected ...string) {
	p.t.Helper()
	for _, problem := range p.Problems(append(expected, otherNetworks)...) {
		p.t.Errorf("in the browser: %s", problem)
	}
}

// deadline polls until ok, at most for the patience of the harness.
func deadline(t *testing.T, ok func() bool, why func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(browser.Patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal(why())
		}
	}
}
