package egress

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// CheckURL reads a URL that somebody typed in and says what is wrong with it,
// without resolving its host: NewClient's client does that when it is used. The
// fault is Invalid and names field.
func (p Policy) CheckURL(field, text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	var wrong string
	switch {
	case text == "":
		wrong = "must be given, for example https://hooks.example.com/portal"
	case len(text) > maxURL:
		wrong = "may not be longer than 2000 characters"
	case err != nil:
		wrong = "is not a URL"
	case u.Scheme != "http" && u.Scheme != "https":
		wrong = "must begin with https:// or http://"
	case u.Hostname() == "":
		wrong = "names no host"
	case u.User != nil:
		wrong = "may not hold a user name or password; addresses are shown in lists and logs"
	case u.Fragment != "":
		wrong = "may not have a part after #"
	case strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r <= ' ' || r == 0x7f || r > 0x7f }):
		wrong = "must have its host in ASCII (xn--…)"
	default:
		return u, p.checkHost(field, u)
	}
	return nil, invalidURL(field, wrong)
}

// checkHost refuses hosts that can't become right by a later change of DNS.
func (p Policy) checkHost(field string, u *url.URL) error {
	host := u.Hostname()
	a, err := netip.ParseAddr(host)
	if err != nil {
		if name := normal(host); name == "localhost" || strings.HasSuffix(name, ".localhost") {
			a, err = netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
		}
	}
	if err != nil {
		if endsInNumber(host) {
			return invalidURL(field, "must have an address as four decimal numbers, or a name")
		}
		return nil
	}
	if _, refused := p.sort(host, portOf(u), []netip.Addr{a}); refused != nil {
		f := fault.As(refused)
		return fault.New(fault.Invalid, f.Code, "%s", f.What).Because("%s", f.Why).Do("%s", f.Remedy).
			At(fault.Field{Path: field, Message: "may not be reached: " + f.Why})
	}
	return nil
}

func invalidURL(field, message string) error {
	return fault.New(fault.Invalid, "egress.url", "The address can't be used").At(fault.Field{Path: field, Message: message})
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// harmless are the headers that go along to another origin.
var harmless = []string{"Accept", "Accept-Language", "Content-Type", "User-Agent"}

// redirect decides on following a redirect to next after those before.
func redirect(next *http.Request, before []*http.Request) error {
	first, last := before[0], before[len(before)-1]
	switch {
	case len(before) > MaxRedirects:
		return refuseRedirect(next, "it redirects more than 3 times")
	case next.URL.Scheme != "https" && next.URL.Scheme != "http":
		return refuseRedirect(next, "it redirects to something that is not http")
	case last.URL.Scheme == "https" && next.URL.Scheme != "https":
		return refuseRedirect(next, "it redirects from https to http")
	case next.Method != first.Method:
		return refuseRedirect(next, "its redirect would turn the "+first.Method+" into a "+next.Method+"; a receiver that moved answers 307 or 308")
	}
	next.URL.User = nil
	next.Header.Del("Referer") // paths of such addresses are often secret
	away := func(r *http.Request) bool { return origin(r.URL) != origin(first.URL) }
	if away(next) || slices.ContainsFunc(before, away) {
		for name := range next.Header {
			if !slices.Contains(harmless, name) {
				next.Header.Del(name)
			}
		}
	}
	return nil
}

func origin(u *url.URL) string {
	return u.Scheme + "://" + net.JoinHostPort(normal(u.Hostname()), portOf(u))
}

func refuseRedirect(next *http.Request, why string) error {
	return fault.New(fault.Forbidden, "egress.redirect", "The redirect to %s was not followed", next.URL.Hostname()).
		Because("%s", why).Do("Enter the address at which the receiver really answers.")
}
