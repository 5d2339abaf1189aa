package egress

import "net/netip"

// The classes of addresses that are refused, as they are named to people.
const (
	loopback    = "a loopback address of this machine"
	private     = "in a private network"
	linkLocal   = "a link-local address"
	metadata    = "the address of a cloud's metadata service"
	unspecified = "no address of a host"
	multicast   = "a multicast or broadcast address"
	reserved    = "in a reserved range"
)

// ranges are searched in order, so that the narrow ones come first.
var ranges = []struct {
	prefix netip.Prefix
	class  string
}{
	{netip.MustParsePrefix("169.254.169.254/32"), metadata},
	{netip.MustParsePrefix("169.254.170.2/32"), metadata},
	{netip.MustParsePrefix("169.254.170.23/32"), metadata},
	{netip.MustParsePrefix("100.100.100.200/32"), metadata},
	{netip.MustParsePrefix("192.0.0.192/32"), metadata},
	{netip.MustParsePrefix("168.63.129.16/32"), metadata},
	{netip.MustParsePrefix("fd00:ec2::254/128"), metadata},
	{netip.MustParsePrefix("fd00:ec2::23/128"), metadata},
	{netip.MustParsePrefix("fd20:ce::254/128"), metadata},
	{netip.MustParsePrefix("0.0.0.0/8"), unspecified},
	{netip.MustParsePrefix("127.0.0.0/8"), loopback},
	{netip.MustParsePrefix("169.254.0.0/16"), linkLocal},
	{netip.MustParsePrefix("10.0.0.0/8"), private},
	{netip.MustParsePrefix("172.16.0.0/12"), private},
	{netip.MustParsePrefix("192.168.0.0/16"), private},
	{netip.MustParsePrefix("100.64.0.0/10"), private},
	{netip.MustParsePrefix("192.0.0.0/24"), reserved},
	{netip.MustParsePrefix("192.0.2.0/24"), reserved},
	{netip.MustParsePrefix("198.18.0.0/15"), reserved},
	{netip.MustParsePrefix("198.51.100.0/24"), reserved},
	{netip.MustParsePrefix("203.0.113.0/24"), reserved},
	{netip.MustParsePrefix("224.0.0.0/4"), multicast},
	{netip.MustParsePrefix("255.255.255.255/32"), multicast},
	{netip.MustParsePrefix("240.0.0.0/4"), reserved},
	{netip.MustParsePrefix("::/128"), unspecified},
	{netip.MustParsePrefix("::1/128"), loopback},
	{netip.MustParsePrefix("fe80::/10"), linkLocal},
	{netip.MustParsePrefix("fec0::/10"), private},
	{netip.MustParsePrefix("fc00::/7"), private},
	{netip.MustParsePrefix("ff00::/8"), multicast},
	{netip.MustParsePrefix("100::/64"), reserved},
	{netip.MustParsePrefix("64:ff9b:1::/48"), private},
	{netip.MustParsePrefix("2001:db8::/32"), reserved},
	{netip.MustParsePrefix("3fff::/20"), reserved},
	{netip.MustParsePrefix("2001::/23"), reserved}, // Teredo carries an IPv4 address as well
	{netip.MustParsePrefix("5f00::/16"), reserved},
}

// carriers are IPv6 prefixes after which an IPv4 address follows, and at which
// byte: what counts is where the packet ends up.
var carriers = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// classify names the class for which an address is refused, "" if for none.
func classify(a netip.Addr) string {
	a = a.WithZone("").Unmap()
	for _, r := range ranges {
		if r.prefix.Contains(a) {
			return r.class
		}
	}
	if !a.Is6() {
		return ""
	}
	for _, c := range carriers {
		if c.prefix.Contains(a) {
			bytes := a.As16()
			return classify(netip.AddrFrom4([4]byte(bytes[c.at : c.at+4])))
		}
	}
	return ""
}
