package browser_test

import (
	"net/http"
	"strings"
	"testing"
)

const leaveForm = `(() => { const f = document.createElement('form'); f.method = 'post'; f.action = '/auth/sign-out'; document.body.append(f); f.submit(); return true })()`

// Somebody adds a passkey of their device, and signs in with it from then on.
func TestPasskey(t *testing.T) {
	t.Parallel()
	h := fresh(t)
	// Browsers know passkeys by the portal's name, and an address is none.
	at := strings.Replace(h.URL, "127.0.0.1", "localhost", 1)
	p := visit(t)
	device, err := p.Authenticator()
	p.must(err)
	p.open(at + h.carl(t))
	p.click("form button")
	p.wait("the page after the link", `!location.pathname.startsWith('/auth/') && document.readyState === 'complete'`)

	p.open(at + "/settings/profile")
	p.fill(`[data-passkey=new] input`, "Laptop")
	p.click(`[data-passkey=new] [data-passkey-start]`)
	p.wait("the new passkey", `document.readyState === 'complete' && document.querySelector('main').innerText.includes('Laptop')`)
	kept, err := device.Passkeys()
	p.must(err)
	if len(kept) != 1 || kept[0].RpID != "localhost" || !kept[0].IsResidentCredential {
		t.Fatalf("on the device: %+v", kept)
	}
	// The same device again: it says that it has one.
	p.click(`[data-passkey=new] [data-passkey-start]`)
	p.wait("what is wrong", `document.querySelector('[data-passkey-problem]').innerText.includes('has a passkey')`)

	leave := func() {
		t.Helper()
		eval[bool](p, leaveForm)
		p.wait("the sign-in page", `location.pathname === '/auth/login' && document.readyState === 'complete'`)
	}
	const start = `[data-passkey=sign-in] [data-passkey-start]`
	leave()
	p.open(at + "/auth/login?next=/settings/profile")
	p.click(start)
	p.wait("the page that was asked for", `location.pathname === '/settings/profile' && document.readyState === 'complete'`)
	if me := eval[string](p, `fetch('/auth/me').then(r => r.text())`); !strings.Contains(me, "Carl") {
		t.Errorf("signed in as %s", me)
	}
	p.secrets(h)

	leave()
	p.must(device.Verify(false)) // somebody else has the device
	p.click(start)
	p.wait("the refusal", `document.querySelector('[data-passkey-problem]').checkVisibility()`)
	p.must(device.Verify(true))

	kept, err = device.Passkeys()
	p.must(err)
	copied := kept[0]
	copied.SignCount = 0 // as it was before it was used
	p.must(device.Replace(copied))
	p.click(start)
	p.wait("the refusal of a copy", `document.querySelector('[data-passkey-problem]').innerText.includes("can't be trusted")`)
	p.clean("401")

	p.open(h.URL + "/auth/login")
	if eval[bool](p, `!!document.querySelector('[data-passkey]')`) {
		t.Error("a passkey is offered at an address where browsers allow none")
	}
}

// carl makes a local user and gives the path of a link for him.
func (h *house) carl(t *testing.T) string {
	t.Helper()
	var user struct {
		ID string `json:"id"`
	}
	var link struct {
		Path string `json:"path"`
	}
	err := h.Call(limit(t), http.MethodPost, "/users", map[string]string{"email": "carl@example.com", "name": "Carl", "role": "operator"}, &user)
	if err == nil {
		err = h.Call(limit(t), http.MethodPost, "/users/"+user.ID+"/link", nil, &link)
	}
	if err != nil {
		t.Fatal(err)
	}
	return link.Path
}
