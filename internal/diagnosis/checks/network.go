package checks

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/diagnosis"
)

// The marks of slow names and of certificates that end.
const (
	slowNames  = time.Second
	certWarn   = 21 * 24 * time.Hour
	certFail   = 3 * 24 * time.Hour
	slowServer = time.Second
)

// Server is a server outside of the portal that it was told to use.
type Server struct {
	Name    string // for people, e.g. "database"
	Setting string // the setting that names it
	Host    string
	Port    string
	TLS     bool // it is spoken to by TLS from the first byte
}

// ServerOf reads the address of a server from a URL, without its credentials;
// false if there is none in it.
func ServerOf(name, setting, address string) (Server, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return Server{}, false
	}
	s := Server{Name: name, Setting: setting, Host: u.Hostname(), Port: u.Port(), TLS: u.Scheme == "https" || u.Scheme == "wss"}
	if s.Port == "" {
		s.Port = map[string]string{"https": "443", "wss": "443", "http": "80", "postgres": "5432", "postgresql": "5432", "nats": "4222", "tls": "4222"}[u.Scheme]
	}
	return s, s.Port != ""
}

func (s Server) address() string { return net.JoinHostPort(s.Host, s.Port) }

// Network looks at names, servers and certificates.
type Network struct {
	Servers []Server
	// Resolver looks names up; nil means that of the machine.
	Resolver *net.Resolver
	// TLS is what certificates are checked against; nil means what the machine trusts.
	TLS *tls.Config
	Now func() time.Time
}

// Checks are the checks of the network.
func (n Network) Checks() []diagnosis.Check {
	return []diagnosis.Check{
		ofPortal("dns", n.names), ofPortal("external_servers", n.reachable), ofPortal("certificate_expiry", n.certificates),
	}
}

func (n Network) names(ctx context.Context) diagnosis.Outcome {
	resolver := n.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	asked := map[string]string{"localhost": ""}
	list := []string{"localhost"}
	for _, s := range n.Servers {
		if _, err := netip.ParseAddr(s.Host); err == nil {
			continue
		}
		if _, known := asked[s.Host]; !known {
			list = append(list, s.Host)
		}
		asked[s.Host] = s.Setting
	}
	var w worse
	for _, host := range list {
		start := n.Now()
		found, err := resolver.LookupHost(ctx, host)
		took := n.Now().Sub(start)
		remedy := "See /etc/resolv.conf and /etc/hosts of this machine."
		if s := asked[host]; s != "" {
			remedy = "Correct the setting " + s + ", or see /etc/resolv.conf and /etc/hosts of this machine."
		}
		switch {
		case err != nil:
			w.add(fail("A name that the portal needs has no address.", remedy, host+": "+plain(err)))
		case took > slowNames:
			w.add(warn("Names are found slowly; every new connection waits for that.", remedy, fmt.Sprintf("%s: %s after %s", host, strings.Join(found, ", "), within(took))))
		default:
			w.add(fine("Names are found.", fmt.Sprintf("%s: %s in %s", host, strings.Join(found, ", "), within(took))))
		}
	}
	return w.Outcome
}

func (n Network) reachable(ctx context.Context) diagnosis.Outcome {
	if len(n.Servers) == 0 {
		return skip("Beside its runtimes, which have checks of their own, the portal uses no server outside of itself.")
	}
	var w worse
	for _, s := range n.Servers {
		start := n.Now()
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", s.address())
		took := n.Now().Sub(start)
		what := fmt.Sprintf("%s (%s)", s.Name, s.address())
		if err != nil {
			w.add(fail("A server that the portal was told to use can't be reached.",
				"See that it runs and that a firewall lets the portal through, or correct the setting "+s.Setting+".", what+": "+plain(err)))
			continue
		}
		_ = conn.Close()
		if took > slowServer {
			w.add(warn("A server that the portal uses is slow to answer.", "See the load of that server and of the network.", what+": connected after "+within(took)))
			continue
		}
		w.add(fine("The servers that the portal uses can be reached.", what+": connected in "+within(took)))
	}
	return w.Outcome
}

func (n Network) certificates(ctx context.Context) diagnosis.Outcome {
	var w worse
	for _, s := range n.Servers {
		if s.TLS {
			w.add(n.certificate(ctx, s))
		}
	}
	if w.Status == "" {
		return skip("Beside its runtimes, which have checks of their own, the portal reaches no server by TLS.")
	}
	return w.Outcome
}

// certificate looks at the certificate that a server shows. One that is not
// trusted is asked for a second time without checking, only to see what it is.
func (n Network) certificate(ctx context.Context, s Server) diagnosis.Outcome {
	what := fmt.Sprintf("%s (%s)", s.Name, s.address())
	config := &tls.Config{}
	if n.TLS != nil {
		config = n.TLS.Clone()
	}
	config.ServerName = s.Host
	state, err := shake(ctx, s.address(), config)
	if err != nil {
		config.InsecureSkipVerify = true // nothing is sent over this connection
		if seen, again := shake(ctx, s.address(), config); again == nil && len(seen.PeerCertificates) > 0 {
			end := seen.PeerCertificates[0].NotAfter
			return fail("The certificate of a server is not valid, and nothing is sent to it.", "Have its certificate renewed, or make this machine trust who signed it.",
				what+": "+plain(err), "its certificate is for "+strings.Join(seen.PeerCertificates[0].DNSNames, ", ")+" until "+end.UTC().Format(time.DateOnly))
		}
		return fail("No certificate could be had from the server.", "See that it runs and speaks TLS, or correct the setting "+s.Setting+".", what+": "+plain(err))
	}
	end := state.PeerCertificates[0].NotAfter
	left := end.Sub(n.Now())
	evidence := fmt.Sprintf("%s: valid until %s, %d more days", what, end.UTC().Format(time.DateOnly), int(left.Hours()/24))
	switch {
	case left < certFail:
		return fail("A certificate ends; then the portal can't speak to that server any more.", "Renew the certificate now.", evidence)
	case left < certWarn:
		return warn("A certificate ends soon.", "Renew the certificate, and see why it was not renewed by itself.", evidence)
	}
	return fine("The certificates are valid for long enough.", evidence)
}

func shake(ctx context.Context, address string, config *tls.Config) (tls.ConnectionState, error) {
	d := tls.Dialer{Config: config}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState(), nil
}
