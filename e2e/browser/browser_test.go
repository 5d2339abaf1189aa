package browser_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/e2e/browser"
)

// chromium is the one browser of this test binary.
var chromium *browser.Browser

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	profile, remove, err := browser.Profile()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer remove()
	if chromium, err = browser.Start(profile); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer chromium.Close()
	defer func() {
		if err := retire(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}

// faulty is a page with every kind of fault that the checks are to find.
const faulty = `<!doctype html><html><head><title>faulty</title></head><body>
<main><h1>Faulty</h1><p style="color: red">inline style</p><img src="/missing.png">
<div class="wide">wide</div><button id="b">go</button><div id="cover"></div></main>
<script nonce="n" src="/faulty.js"></script><script>console.log('not allowed')</script></body></html>`

func faultySite(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'nonce-n'; require-trusted-types-for 'script'")
		_, _ = w.Write([]byte(faulty))
	})
	mux.HandleFunc("GET /faulty.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write([]byte(`console.error("told"); document.querySelector('.wide').style.width = '3000px';
			document.querySelector('#b').onclick = e => { e.target.textContent = 'gone' };
			setTimeout(() => { document.body.innerHTML += 'x' }); setTimeout(() => { throw new Error('thrown') })`))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// What the harness reports is what the tests of the pages rely on: it must
// find each of these faults.
func TestFaultsAreFound(t *testing.T) {
	site := faultySite(t)
	tab := visit(t)
	tab.open(site.URL + "/")
	for _, fault := range []string{`console.error: "told"`, "thrown", "style-src", "script-src-elem", "trusted-types", "404"} {
		deadline(t, func() bool {
			return slices.ContainsFunc(tab.Problems(), func(p string) bool { return strings.Contains(p, fault) })
		}, func() string { return fmt.Sprintf("%q is not among %q", fault, tab.Problems()) })
	}
	violations, _, err := tab.Axe()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"html-has-lang", "image-alt"} {
		if !slices.ContainsFunc(violations, func(v browser.Violation) bool { return v.ID == id }) {
			t.Errorf("axe did not find %s, only %v", id, violations)
		}
	}
	if wide, err := tab.TooWide(); err != nil || len(wide) < 2 || !strings.Contains(wide[1], "wide") {
		t.Errorf("what is too wide: %q, %v", wide, err)
	}
	if n := len(tab.Requests()); n < 3 {
		t.Errorf("%d requests were seen", n)
	}
	tab.click("#b")
	tab.wait("the click to arrive", `document.querySelector('#b').textContent === 'gone'`)
}
