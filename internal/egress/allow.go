package egress

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// exception is one entry of Policy.Hosts.
type exception struct {
	network netip.Prefix // valid for an address or a network
	name    string       // else a host name in lower case; with suffix, what its names end in
	suffix  bool
	port    string // "" means any
}

type exceptions []exception

// Parse reads a list of exceptions, separated by commas or spaces, as
// --egress-allow has it.
func Parse(text string) (Policy, error) {
	var p Policy
	for _, entry := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		if _, ok := parseException(entry); !ok {
			return Policy{}, fmt.Errorf("%q is neither a host name, an address, one of these with a port, nor a network such as 10.1.0.0/16", entry)
		}
		p.Hosts = append(p.Hosts, entry)
	}
	return p, nil
}

// exceptions reads Hosts. An entry that can't be read allows nothing.
func (p Policy) exceptions() exceptions {
	var list exceptions
	for _, entry := range p.Hosts {
		if e, ok := parseException(entry); ok {
			list = append(list, e)
		}
	}
	return list
}

func parseException(text string) (exception, bool) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return exception{network: prefix.Masked()}, true
	}
	var e exception
	host := text
	if h, port, err := net.SplitHostPort(text); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return exception{}, false
		}
		host, e.port = h, port
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		a = a.WithZone("").Unmap()
		e.network = netip.PrefixFrom(a, a.BitLen())
		return e, true
	}
	e.name = normal(host)
	if rest, ok := strings.CutPrefix(e.name, "*"); ok {
		e.name, e.suffix = rest, true
		if !strings.HasPrefix(rest, ".") || len(rest) < 2 {
			return exception{}, false
		}
	}
	ok := e.name != "" && !endsInNumber(e.name) && !strings.ContainsFunc(strings.TrimPrefix(e.name, "."), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
	return e, ok
}

// normal is how names are compared.
func normal(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

func (list exceptions) allow(host, port string, a netip.Addr) bool {
	a, host = a.WithZone("").Unmap(), normal(host)
	for _, e := range list {
		if e.port != "" && e.port != port {
			continue
		}
		switch {
		case e.network.IsValid():
			if e.network.Contains(a) {
				return true
			}
		case e.suffix && strings.HasSuffix(host, e.name) || !e.suffix && host == e.name:
			return true
		}
	}
	return false
}
