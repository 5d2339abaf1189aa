package upkeep

import (
	"net"
	"net/netip"
	"net/url"
)

// Outside gives the address under which an instance on another host reaches what
// is on the portal's own loopback, where the portal's machine has the name host
// there.
func Outside(address, host string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback() && !ip.IsUnspecified()) {
		return address
	}
	if port := u.Port(); port != "" {
		u.Host = net.JoinHostPort(host, port)
	} else {
		u.Host = host
	}
	return u.String()
}
