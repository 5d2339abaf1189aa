package egress_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/egress"
	"github.com/waooaw/platform-portal/internal/fault"
)

// names answers look-ups from a table.
func names(table map[string]string) func(context.Context, string) ([]netip.Addr, error) {
	return func(_ context.Context, host string) ([]netip.Addr, error) {
		var list []netip.Addr
		for text := range strings.FieldsSeq(table[host]) {
			list = append(list, netip.MustParseAddr(text))
		}
		return list, nil
	}
}

// refusal gives the fault with which the dial is refused, nil if it is not.
func refusal(p egress.Policy, address string) *fault.Error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what is allowed need not be dialled
	_, err := p.DialContext(ctx, "tcp", address)
	return fault.As(err)
}

func TestAddressesThatAreRefused(t *testing.T) {
	for host, why := range map[string]string{
		"127.0.0.1":              "loopback",
		"127.255.1.2":            "loopback",
		"::1":                    "loopback",
		"::ffff:127.0.0.1":       "loopback",
		"::127.0.0.1":            "loopback",
		"64:ff9b::7f00:1":        "loopback",
		"2002:7f00:1::":          "loopback",
		"::ffff:0:127.0.0.1":     "loopback",
		"0.0.0.0":                "no address of a host",
		"::":                     "no address of a host",
		"0.1.2.3":                "no address of a host",
		"169.254.169.254":        "metadata",
		"::ffff:169.254.169.254": "metadata",
		"64:ff9b::a9fe:a9fe":     "metadata",
		"2002:a9fe:a9fe::1":      "metadata",
		"fd00:ec2::254":          "metadata",
		"100.100.100.200":        "metadata",
		"168.63.129.16":          "metadata",
		"169.254.1.1":            "link-local",
		"fe80::1":                "link-local",
		"fe80::1%eth0":           "link-local",
		"10.0.0.1":               "private",
		"172.16.0.1":             "private",
		"172.31.255.255":         "private",
		"192.168.1.1":            "private",
		"100.64.0.1":             "private",
		"::ffff:10.0.0.1":        "private",
		"fd12:3456::1":           "private",
		"fec0::1":                "private",
		"224.0.0.1":              "multicast",
		"255.255.255.255":        "multicast",
		"ff02::1":                "multicast",
		"240.0.0.1":              "reserved",
		"192.0.2.1":              "reserved",
		"2001:db8::1":            "reserved",
		"2001:0:1::1":            "reserved", // Teredo
		"2130706433":             "four decimal numbers",
		"0x7f000001":             "four decimal numbers",
		"0x7f.0.0.1":             "four decimal numbers",
		"0177.0.0.1":             "four decimal numbers",
		"127.1":                  "four decimal numbers",
		"127.0.0.1.":             "four decimal numbers",
		"example.0x":             "four decimal numbers",
		"localhost":              "loopback",
	} {
		t.Run(host, func(t *testing.T) {
			p := egress.Policy{Lookup: names(map[string]string{"localhost": "127.0.0.1 ::1"})}
			f := refusal(p, net.JoinHostPort(host, "80"))
			if f == nil || f.Kind != fault.Forbidden || !strings.Contains(f.Why, why) {
				t.Fatalf("fault = %v, want a refusal because of %q", f, why)
			}
			if !strings.Contains(f.Remedy, "--egress-allow") {
				t.Errorf("remedy %q does not say how to allow it", f.Remedy)
			}
		})
	}
}

func TestAddressesThatAreReached(t *testing.T) {
	for _, host := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"} {
		if f := refusal(egress.Policy{}, net.JoinHostPort(host, "443")); f != nil {
			t.Errorf("%s: %v", host, f)
		}
	}
}

func TestNamesAreJudgedByWhatTheyResolveTo(t *testing.T) {
	p := egress.Policy{Lookup: names(map[string]string{
		"inside.example": "127.0.0.1",
		"cloud.example":  "169.254.169.254",
		"mixed.example":  "10.0.0.1 8.8.8.8",
		"good.example":   "8.8.8.8",
	})}
	for host, refused := range map[string]bool{"inside.example": true, "cloud.example": true, "mixed.example": false, "good.example": false} {
		f := refusal(p, host+":443")
		if (f != nil) != refused {
			t.Errorf("%s: fault = %v, want refused = %v", host, f, refused)
		}
		if refused && !strings.Contains(f.Why, "its address") {
			t.Errorf("%s: %q does not say which address it has", host, f.Why)
		}
	}
	var none *net.DNSError
	if _, err := p.DialContext(t.Context(), "tcp", "missing.example:443"); !errors.As(err, &none) {
		t.Errorf("a name without addresses gives %v", err)
	}
}

// A name may answer well when it is checked and badly when it is dialled. There
// is no check before: what was resolved last is what is dialled.
func TestANameThatChangesIsCaught(t *testing.T) {
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the inside was reached") }))
	defer inside.Close()
	var asked atomic.Int32
	p := egress.Policy{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		if asked.Add(1) == 1 {
			return nil, errors.New("try again")
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}}
	client := egress.NewClient(p, 0)
	for range 2 {
		_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
		if resp, err := client.Get("http://rebind.example:" + port); err == nil {
			resp.Body.Close()
			t.Fatal("the request was answered")
		}
	}
	if asked.Load() != 2 {
		t.Fatalf("resolved %d times, want 2", asked.Load())
	}
}

func TestExceptions(t *testing.T) {
	lookup := names(map[string]string{
		"hooks.corp.example": "10.1.2.3", "other.corp.example": "10.1.2.4", "evil-corp.example": "10.1.2.5", "hooks.test": "10.1.2.6",
	})
	for _, tt := range []struct {
		allow, address string
		allowed        bool
	}{
		{"127.0.0.1", "127.0.0.1:80", true},
		{"127.0.0.1", "[::ffff:127.0.0.1]:80", true},
		{"127.0.0.1", "127.0.0.2:80", false},
		{"127.0.0.1:9093", "127.0.0.1:9093", true},
		{"127.0.0.1:9093", "127.0.0.1:80", false},
		{"[::1]:9093", "[::1]:9093", true},
		{"::1", "[::1]:1", true},
		{"10.1.0.0/16", "hooks.corp.example:443", true},
		{"10.2.0.0/16", "hooks.corp.example:443", false},
		{"Hooks.Corp.Example", "hooks.corp.example:443", true},
		{"hooks.corp.example.", "hooks.corp.example:443", true},
		{"hooks.corp.example", "HOOKS.corp.example.:443", false}, // the table of names has no such spelling: not found
		{"hooks.corp.example", "other.corp.example:443", false},
		{"hooks.corp.example", "10.1.2.3:443", false},
		{"*.corp.example", "other.corp.example:443", true},
		{"*.corp.example", "evil-corp.example:443", false},
		{"hooks.corp.example:8443", "hooks.corp.example:443", false},
		{"169.254.169.254", "169.254.169.254:80", true},
		{"10.0.0.1, hooks.test 127.0.0.0/8", "hooks.test:443", true},
	} {
		p, err := egress.Parse(tt.allow)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.allow, err)
		}
		p.Lookup = lookup
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = p.DialContext(ctx, "tcp", tt.address)
		if got := fault.As(err) == nil && !isUnknown(err); got != tt.allowed {
			t.Errorf("with %q allowed, %s: allowed = %v (%v), want %v", tt.allow, tt.address, got, err, tt.allowed)
		}
	}
	for _, wrong := range []string{"10.0.0.0/40", "127.0.0.1:0", "127.0.0.1:70000", "*", "*.", "a*b", "http://x", "127.1", "host:name", ","} {
		if p, err := egress.Parse(wrong); err == nil && len(p.Hosts) > 0 {
			t.Errorf("Parse(%q) = %v, want an error", wrong, p.Hosts)
		}
	}
}

func isUnknown(err error) bool {
	var none *net.DNSError
	return errors.As(err, &none)
}

func TestWholeClassesCanBeAllowed(t *testing.T) {
	for address, p := range map[string]egress.Policy{
		"127.0.0.1:80": {AllowLoopback: true}, "[::1]:80": {AllowLoopback: true},
		"10.0.0.1:80": {AllowPrivate: true}, "[fd00::1]:80": {AllowPrivate: true},
	} {
		if f := refusal(p, address); f != nil {
			t.Errorf("%s: %v", address, f)
		}
	}
	both := egress.Policy{AllowLoopback: true, AllowPrivate: true}
	for _, address := range []string{"169.254.169.254:80", "[fd00:ec2::254]:80", "169.254.1.1:80", "100.100.100.200:80", "0.0.0.0:80"} {
		if refusal(both, address) == nil {
			t.Errorf("%s is reached though only loopback and private networks are allowed", address)
		}
	}
}

func TestURLs(t *testing.T) {
	for text, wrong := range map[string]string{
		"":                                     "must be given",
		"hooks.example.com":                    "begin with https",
		"ftp://hooks.example.com":              "begin with https",
		"file:///etc/passwd":                   "begin with https",
		"https://":                             "no host",
		"https://user:secret@hooks.example":    "user name or password",
		"https://hooks.example/#x":             "after #",
		"https://hooks.example/\x00":           "not a URL",
		"https://" + strings.Repeat("a", 2000): "longer",
		"https://ｅｘａｍｐｌｅ.com":                  "ASCII",
		"http://127.0.0.1:8080/":               "loopback",
		"http://localhost/":                    "loopback",
		"http://x.localhost./":                 "loopback",
		"http://[::1]/":                        "loopback",
		"http://[::ffff:7f00:1]/":              "loopback",
		"http://169.254.169.254/latest/":       "metadata",
		"http://2130706433/":                   "four decimal numbers",
		"http://0x7f.1/":                       "four decimal numbers",
	} {
		_, err := egress.Policy{}.CheckURL("url", text)
		f := fault.As(err)
		if f == nil || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Path != "url" || !strings.Contains(f.Fields[0].Message, wrong) {
			t.Errorf("%q: %v, want the field url to say %q", text, err, wrong)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v repeats the password", text, err)
		}
	}
	for _, text := range []string{"https://hooks.example.com/portal?key=1", "http://1.1.1.1:8080", "https://[2606:4700::1111]/"} {
		if _, err := (egress.Policy{}).CheckURL("url", text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := (egress.Policy{Hosts: []string{"127.0.0.1:9093"}}).CheckURL("url", "http://127.0.0.1:9093"); err != nil {
		t.Errorf("an allowed address: %v", err)
	}
}

func TestARedirectToARefusedAddressIsNotFollowed(t *testing.T) {
	for _, target := range []string{"http://169.254.169.254/latest/meta-data", "http://127.0.0.2:1/", "http://[fd00:ec2::254]/", "http://2130706433/"} {
		srv := httptest.NewServer(http.RedirectHandler(target, http.StatusTemporaryRedirect))
		p, _ := egress.Parse(srv.Listener.Addr().String())
		_, err := post(t, egress.NewClient(p, 0), srv.URL)
		if f := fault.As(err); f == nil || f.Kind != fault.Forbidden || f.Why == "" {
			t.Errorf("redirect to %s: %v, want a refusal that says why", target, err)
		}
		srv.Close()
	}
}

func post(t *testing.T, client *http.Client, to string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer secret", "Cookie": "session=secret", "X-Api-Key": "secret", "Webhook-Signature": "secret",
		"Content-Type": "application/json", "User-Agent": "portal",
	} {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err == nil {
		t.Cleanup(func() { resp.Body.Close() })
	}
	return resp, err
}

func TestCredentialsStayWithTheirOrigin(t *testing.T) {
	var got []http.Header
	record := func(next string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.Header)
			if body, _ := io.ReadAll(r.Body); string(body) != "body" {
				t.Errorf("body = %q", body)
			}
			if next != "" && r.URL.Path != "/end" {
				http.Redirect(w, r, next, http.StatusTemporaryRedirect)
			}
		})
	}
	first := httptest.NewUnstartedServer(nil)
	home := "http://" + first.Listener.Addr().String()
	other := httptest.NewServer(record(home + "/end")) // and back to where it came from
	defer other.Close()
	away, _ := url.Parse(other.URL)
	away.User = url.UserPassword("name", "secret")
	first.Config.Handler = record(away.String())
	first.Start()
	defer first.Close()
	if _, err := post(t, egress.NewClient(egress.Policy{AllowLoopback: true}, 0), home+"/secret-path"); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 {
		t.Fatalf("%d requests, want 3", len(got))
	}
	if got[0].Get("Authorization") == "" || got[0].Get("X-Api-Key") == "" {
		t.Errorf("the first request lacks its credentials: %v", got[0])
	}
	for i, h := range got[1:] {
		for _, name := range []string{"Authorization", "Cookie", "X-Api-Key", "Webhook-Signature", "Referer"} {
			if h.Get(name) != "" {
				t.Errorf("request %d carries %s: %q", i+2, name, h.Get(name))
			}
		}
		if h.Get("Content-Type") != "application/json" {
			t.Errorf("request %d lost its content type", i+2)
		}
	}
}

func TestRedirectsWithinAnOriginKeepTheirHeaders(t *testing.T) {
	var last http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if last = r.Header; r.URL.Path == "/" {
			http.Redirect(w, r, "/moved", http.StatusPermanentRedirect)
		}
	}))
	defer srv.Close()
	if _, err := post(t, egress.NewClient(egress.Policy{AllowLoopback: true}, 0), srv.URL); err != nil {
		t.Fatal(err)
	}
	if last.Get("Webhook-Signature") != "secret" || last.Get("Referer") != "" {
		t.Errorf("after the redirect: %v", last)
	}
}

func TestRedirectsThatAreNotFollowed(t *testing.T) {
	asked := 0
	for name, handler := range map[string]http.Handler{
		"more than 3": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
		}),
		"POST into a GET": http.RedirectHandler("/login", http.StatusFound),
		"not http":        http.RedirectHandler("gopher://example.com/", http.StatusTemporaryRedirect),
	} {
		srv := httptest.NewServer(handler)
		_, err := post(t, egress.NewClient(egress.Policy{AllowLoopback: true}, 0), srv.URL)
		if f := fault.As(err); f == nil || !strings.Contains(f.Why, name) {
			t.Errorf("%s: %v", name, err)
		}
		srv.Close()
	}
	if asked != 4 {
		t.Errorf("%d requests, want the first and 3 redirects", asked)
	}
	secure := httptest.NewTLSServer(http.RedirectHandler("http://192.0.2.1/", http.StatusTemporaryRedirect))
	defer secure.Close()
	client := egress.NewClient(egress.Policy{AllowLoopback: true}, 0)
	client.Transport.(*http.Transport).TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	if _, err := post(t, client, secure.URL); fault.As(err) == nil || !strings.Contains(fault.As(err).Why, "https to http") {
		t.Errorf("from https to http: %v", err)
	}
}

func TestAReceiverThatHangsIsLeft(t *testing.T) {
	release := make(chan struct{})
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer hang.Close()
	defer close(release)
	_, err := egress.NewClient(egress.Policy{AllowLoopback: true}, 50*time.Millisecond).Get(hang.URL)
	if err == nil || egress.Reason(err) != "it did not answer in time" {
		t.Errorf("error = %v, reason = %q", err, egress.Reason(err))
	}
}

func TestAnEndlessAnswerIsCut(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	resp, err := egress.NewClient(egress.Policy{AllowLoopback: true}, 0).Get(endless.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := egress.ReadAll(resp.Body, 1000)
	if len(data) != 1000 || !fault.Is(err, fault.TooLarge) {
		t.Errorf("read %d bytes, %v", len(data), err)
	}
	if data, err := egress.ReadAll(strings.NewReader("just right"), 10); string(data) != "just right" || err != nil {
		t.Errorf("at the limit: %q, %v", data, err)
	}
}

func TestAHugeHeaderIsRefused(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 200<<10))
	}))
	defer srv.Close()
	if resp, err := egress.NewClient(egress.Policy{AllowLoopback: true}, 0).Get(srv.URL); err == nil {
		resp.Body.Close()
		t.Error("it was read")
	}
}

func TestReasonsDoNotRepeatTheURL(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer cut.Close()
	untrusted := httptest.NewUnstartedServer(nil)
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	for want, to := range map[string]string{
		"can't be reached":         closed.URL,
		"closed the connection":    cut.URL,
		"certificate is not":       untrusted.URL,
		"does not speak TLS":       strings.Replace(cut.URL, "http:", "https:", 1),
		"no.example does not":      "http://no.example",
		"link-local":               "http://169.254.0.1",
		"loopback address of this": "http://inside.example",
	} {
		p := egress.Policy{AllowLoopback: want != "loopback address of this", Lookup: names(map[string]string{"inside.example": "127.0.0.1"})}
		if want == "no.example does not" {
			p.Lookup = func(context.Context, string) ([]netip.Addr, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "no.example", IsNotFound: true}
			}
		}
		_, err := post(t, egress.NewClient(p, 0), to+"/secret-path")
		if reason := egress.Reason(err); !strings.Contains(reason, want) || strings.Contains(reason, "secret-path") {
			t.Errorf("%s: reason = %q (%v), want it to say %q", to, reason, err, want)
		}
	}
	if egress.Reason(nil) != "" {
		t.Error("no error has a reason")
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, text := range []string{"https://a.example/x?y=1", "http://127.0.0.1", "http://[::1%25eth0]:80/", "http://0x7f.1", "//x", "http://a@b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := egress.Policy{}.CheckURL("url", text)
		if err != nil {
			return
		}
		a, parse := netip.ParseAddr(u.Hostname())
		if parse == nil && (a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.Unmap().IsLoopback()) {
			t.Errorf("%q is accepted", text)
		}
	})
}
