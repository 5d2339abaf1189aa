package browser_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/e2e/browser"
)

// state looks at what the page shows just now, in both themes: axe finds
// nothing, and it fits a phone.
func (p *tab) state(h *house, name string) {
	p.t.Helper()
	for _, theme := range themes {
		p.prefer(browser.Preferences{Scheme: theme})
		p.settle()
		violations, _, err := p.Axe()
		p.must(err)
		for _, v := range violations {
			p.t.Errorf("%s, %s: %s", name, theme, v)
		}
		for size, at := range map[string]browser.Size{"360": browser.Phone, "1280": browser.Laptop} {
			p.resize(at)
			p.settle()
			wide, err := p.TooWide()
			p.must(err)
			for _, w := range wide {
				p.t.Errorf("%s at %s px: %s", name, size, w)
			}
			p.must(p.Screenshot(filepath.Join(h.root, "build", "screenshots", name+"-"+theme+"-"+size+".png")))
		}
	}
}

// says waits until the page says something.
func (p *tab) says(text string) {
	p.t.Helper()
	p.wait("the page to say "+text, `document.readyState === 'complete' && document.querySelector('main')?.innerText.includes(`+"`"+text+"`"+`)`)
}

// An administrator adds a colleague, who chooses a password, makes a token, and
// loses the role while looking at a page.
func TestSettingsJourney(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	admin := h.visit(t, "/settings/users")
	admin.fill("input[name=email]", "nina@example.com")
	admin.fill("input[name=name]", "Nina")
	eval[bool](admin, `(document.querySelector('select[name=role]').value = 'operator') === 'operator'`)
	admin.press("Enter")
	admin.says("Give nina@example.com a sign-in link")
	admin.state(h, "user-added")
	admin.click("form[action$='/link'] button")
	admin.says("It works once")
	admin.state(h, "user-link")
	link := eval[string](admin, `document.querySelector('input[name=link]').value`)
	if !strings.HasPrefix(link, h.URL+"/auth/link/") || strings.Contains(eval[string](admin, `location.href`), "ptk_") {
		t.Fatalf("the link is %q", link)
	}

	nina := visit(t)
	nina.open(link)
	nina.click("form button")
	nina.wait("the page after the sign-in", `!location.pathname.startsWith('/auth/') && document.readyState === 'complete'`)
	nina.open(h.URL + "/settings/profile")
	nina.fill("input[name=password]", "short")
	nina.click("form[action$='/password'] button")
	nina.says("The password can't be used")
	nina.state(h, "password-refused")
	nina.fill("input[name=password]", "four words for nobody")
	nina.click("form[action$='/password'] button")
	nina.says("Your password was changed")

	nina.open(h.URL + "/settings/tokens")
	nina.fill("input[name=name]", "ci")
	if n := eval[int](nina, `(b => { let sent = 0; addEventListener('submit', e => sent += !e.defaultPrevented);
		b.click(); b.click(); b.form.requestSubmit(); return sent })(document.querySelector("form[action='/settings/tokens'] button"))`); n != 1 {
		t.Errorf("a form that was sent three times made %d tokens", n)
	}
	nina.says("it is not shown again")
	nina.state(h, "token-made")
	if secret := eval[string](nina, `document.querySelector('input[name=secret]').value`); !strings.HasPrefix(secret, "ptl_") {
		t.Errorf("the secret is %q", secret)
	}
	nina.open(h.URL + "/settings/tokens")
	if page := eval[string](nina, `document.documentElement.outerHTML`); strings.Contains(page, "ptl_") {
		t.Error("the secret is shown a second time")
	}

	eval[bool](admin, `document.querySelector('nav.tabs a[href="/settings/users"]').click() ?? true`)
	admin.wait("the list of users", `location.pathname === '/settings/users' && !!document.querySelector('table a')`)
	admin.click("table a")
	admin.wait("the page of the user", `/^\/settings\/users\/./.test(location.pathname) && !!document.querySelector('button.button-danger')`)
	admin.state(h, "user")
	eval[bool](admin, `(document.querySelector('form select[name=role]').value = 'viewer') === 'viewer'`)
	nina.open("about:blank") // a page that is open goes on by itself when its access changes
	admin.click("form:has(select[name=role]) button")
	admin.says("The user was changed")
	nina.open(h.URL + "/settings/profile")
	nina.says("Viewer")
	admin.click("form:has(input[name=disabled]) button")
	admin.says("Enable user")
	nina.wait("the sign-in page, by itself", `location.pathname === '/auth/login'`)
	nina.fill("input[name=email]", "nina@example.com")
	nina.fill("input[name=password]", "four words for nobody")
	nina.press("Enter")
	nina.says("Your account is disabled")
	admin.clean()
	// A page that is open tries to stay live, and goes to the sign-in by itself once it may not.
	nina.clean("400", "401", "403", "HTTP Authentication failed", "NavigationEntryMarkedSkippable")
}
