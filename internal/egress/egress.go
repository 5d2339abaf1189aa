// Package egress is the way out: requests to addresses that people typed in
// (webhooks, receivers of alerts) leave through it.
//
// Whoever may write a URL could otherwise make the portal speak to what only
// the portal can reach: services on its own machine, the private network, or
// the cloud's metadata service that hands out credentials. So the address is
// checked when it is dialled, after names have been resolved, which also
// catches redirects and names that change between two look-ups.
package egress

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// The limits of every client.
const (
	MaxRedirects   = 3
	maxHeader      = 64 << 10         // bytes of a response's header
	maxPerHost     = 8                // connections to one host
	idleTime       = 30 * time.Second // how long a connection is kept for the next request
	dialTime       = 10 * time.Second // for the name and the connection
	maxAddresses   = 8                // of one name that are tried
	maxURL         = 2000
	defaultTimeout = 10 * time.Second
)

// Policy says which addresses may be reached beside those of the public
// internet. The zero Policy allows nothing else.
type Policy struct {
	// AllowLoopback allows this machine's own addresses.
	AllowLoopback bool
	// AllowPrivate allows private networks (10.0.0.0/8 and the like).
	AllowPrivate bool
	// Hosts are what may be reached although it is refused otherwise: host names
	// ("hooks.corp.example", "*.corp.example"), addresses, networks
	// ("10.1.0.0/16"); names and addresses may carry a port ("127.0.0.1:9093").
	Hosts []string
	// Lookup resolves names; the system's resolver where nil.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// NewClient makes an HTTP client that obeys the policy. A request with its
// response may take as long as timeout. It follows at most MaxRedirects
// redirects, sends neither cookies nor anything but harmless headers to another
// origin, does not turn a POST into a GET, and uses no proxy.
//
// What it refuses is a fault of kind Forbidden in the chain of the error.
func NewClient(p Policy, timeout time.Duration) *http.Client {
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: redirect,
		Transport: &http.Transport{
			DialContext:            p.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    timeout,
			ResponseHeaderTimeout:  timeout,
			MaxResponseHeaderBytes: maxHeader,
			MaxConnsPerHost:        maxPerHost,
			IdleConnTimeout:        idleTime,
			DisableCompression:     true, // a small answer must not grow
			ForceAttemptHTTP2:      true,
		},
	}
}

// DialContext connects to HOST:PORT if the policy allows an address of the
// host, and to such an address only.
func (p Policy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, refuse(address, "it is not HOST:PORT")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	addrs, err := p.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	allowed, refused := p.sort(host, port, addrs)
	if len(allowed) == 0 {
		return nil, refused
	}
	var dialer net.Dialer
	var failure error
	for _, a := range allowed[:min(len(allowed), maxAddresses)] {
		conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		if err == nil {
			return conn, nil
		}
		if failure == nil {
			failure = err
		}
	}
	return nil, failure
}

// sort keeps the addresses that may be reached; the fault says why not, of the
// first one that may not.
func (p Policy) sort(host, port string, addrs []netip.Addr) (allowed []netip.Addr, refused error) {
	list := p.exceptions()
	for _, a := range addrs {
		class := classify(a)
		switch {
		case class == "", class == loopback && p.AllowLoopback, class == private && p.AllowPrivate,
			list.allow(host, port, a):
			allowed = append(allowed, a)
		case refused == nil:
			refused = refuseAddress(host, a, class)
		}
	}
	return allowed, refused
}

// resolve gives the addresses of the host.
func (p Policy) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if endsInNumber(host) {
		return nil, refuse(host, "an address is written as four decimal numbers (192.0.2.1)")
	}
	lookup := p.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	addrs, err := lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

// endsInNumber tells whether the host would be read as an IPv4 address by some
// programs though it is not one in the usual form: 2130706433, 0x7f000001,
// 0177.0.0.1 and 127.1 all mean 127.0.0.1 to them.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	if rest, ok := strings.CutPrefix(strings.ToLower(last), "0x"); ok {
		return strings.Trim(rest, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

func refuse(host, why string) error {
	return fault.New(fault.Forbidden, "egress.refused", "The portal does not connect to %s", host).Because("%s", why).
		Do("Use an address that is reached over the public internet, or have it allowed with --egress-allow.")
}

func refuseAddress(host string, a netip.Addr, class string) error {
	text := a.WithZone("").String()
	if host == text || strings.Trim(host, "[]") == text {
		return refuse(host, "it is "+class)
	}
	return refuse(host, "its address "+text+" is "+class)
}

// ReadAll reads a body of at most limit bytes. A longer one is a fault of kind
// TooLarge; what was read of it is given as well.
func ReadAll(body io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if int64(len(data)) > limit {
		return data[:limit], fault.New(fault.TooLarge, "egress.too_large", "The answer is too large").
			Because("at most %d bytes of it are read", limit)
	}
	return data, err
}
