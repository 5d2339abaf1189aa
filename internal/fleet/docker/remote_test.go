package docker_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/docker"
	"github.com/waooaw/platform-portal/internal/fleet/docker/dockertest"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
)

// lives lets an instance live on the engine of the configuration.
func lives(t *testing.T, cfg docker.Config) *docker.Runtime {
	t.Helper()
	rt := open(t, cfg)
	if err := rt.Launch(t.Context(), instance("far", agent.RestartPolicy{}, "ticks")); err != nil {
		t.Fatal(err)
	}
	until(t, rt, "far", func(in fleet.Instance) bool { return in.State == fleet.InstanceRunning })
	said := func() (found bool) {
		err := rt.ReadLogs(t.Context(), fleet.LogQuery{AgentID: "far"}, func(l fleet.LogLine) error {
			found = found || l.Text == "tick 1"
			return nil
		})
		return found && err == nil
	}
	until(t, rt, "far", func(fleet.Instance) bool { return said() })
	for _, c := range rt.Report(t.Context()) {
		if c.Name == "docker_engine" && !c.OK {
			t.Errorf("the report says %+v", c)
		}
	}
	return rt
}

// runs runs a command in the instance of lives.
func execs(t *testing.T, rt *docker.Runtime) error {
	t.Helper()
	code, _, err := rt.Exec(t.Context(), "far", fleet.InstanceID("far", 1, 0), []string{dockertest.ProgramPath, "exit", "3"})
	if err == nil && code != 3 {
		t.Errorf("a command gives %d", code)
	}
	return err
}

func stops(t *testing.T, rt *docker.Runtime) {
	t.Helper()
	if err := rt.Stop(t.Context(), "far", fleet.InstanceID("far", 1, 0), time.Second); err != nil {
		t.Error(err)
	}
}

// refused gives the fault with which everything fails on the engine of the
// configuration.
func refused(t *testing.T, cfg docker.Config) *fault.Error {
	t.Helper()
	cfg.Dir = t.TempDir()
	rt, err := docker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	_, err = rt.Observe(t.Context(), "")
	f := fault.As(err)
	if f == nil || f.Remedy == "" || f.Why == "" {
		t.Fatalf("got %v", err)
	}
	return f
}

// socket is the path of the engine's.
func socket(e *dockertest.Engine) string { return strings.TrimPrefix(e.Host, "unix://") }

// pipe passes bytes between a connection and the engine.
func pipe(conn net.Conn, socket string) {
	defer conn.Close()
	engine, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer engine.Close()
	go func() {
		_, _ = io.Copy(engine, conn)
		_ = engine.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, engine)
}

// serve passes on what comes until the test ends.
func serve(t *testing.T, l net.Listener, handle func(net.Conn)) string {
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go handle(conn)
		}
	}()
	return l.Addr().String()
}

// authority signs certificates.
type authority struct {
	*testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{T: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return cert, key
}

// dir holds what a client of the authority needs.
func (a *authority) dir() string {
	a.Helper()
	cert, key := a.sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	packed, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.Fatal(err)
	}
	dir := a.TempDir()
	for name, b := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: a.cert.Raw},
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Raw},
		"key.pem":  {Type: "EC PRIVATE KEY", Bytes: packed},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			a.Fatal(err)
		}
	}
	return dir
}

func TestAnEngineBehindTLS(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	a := newAuthority(t)
	cert, key := a.sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Host, cfg.TLS = "tcp://"+serve(t, l, func(c net.Conn) { pipe(c, socket(e)) }), a.dir()
	rt := lives(t, cfg)
	if err := execs(t, rt); err != nil {
		t.Error(err)
	}
	stops(t, rt)

	other := newAuthority(t).dir()
	cfg.TLS = other
	if f := refused(t, cfg); f.Code != "docker.unreachable" || !strings.Contains(f.Remedy, "docker.tls") {
		t.Errorf("an engine of another authority: %v", f)
	}
	own, err := os.ReadFile(filepath.Join(a.dir(), "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "ca.pem"), own, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := refused(t, cfg); f.Code != "docker.unreachable" || !strings.Contains(f.Remedy, "docker.tls") {
		t.Errorf("a portal whose certificate the engine does not know: %v", f)
	}
}

// allowed is what a usual proxy of the socket lets through.
var allowed = regexp.MustCompile(`^(/v[0-9.]+)?/(_ping|version|info|events|(containers|images|networks|volumes)(/.*)?)$`)

func TestAnEngineBehindAProxyThatFilters(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket(e))
	}}
	proxy.FlushInterval = -1
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !allowed.MatchString(r.URL.Path) {
			http.Error(w, "not allowed here", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	cfg.Host = "tcp://" + s.Listener.Addr().String()
	rt := lives(t, cfg)
	if list, err := rt.Holdings(t.Context(), "far"); err != nil || len(list) == 0 {
		t.Errorf("it holds %v, %v", list, err)
	}
	f := fault.As(execs(t, rt))
	if f == nil || f.Code != "docker.forbidden" || !strings.Contains(f.Remedy, "exec") {
		t.Errorf("a command that the proxy does not allow: %v", f)
	}
	stops(t, rt)
}

// sshServer runs the machine's sshd on loopback, and gives its port and a directory
// for docker.ssh.
func sshServer(t *testing.T) (port, dir string) {
	t.Helper()
	for _, need := range []string{"/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/ssh-keygen"} {
		if _, err := os.Stat(need); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("not tested over ssh: %v", err)
		}
	}
	dir, own := t.TempDir(), t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(own, "host"))
	run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "id"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	key, err := os.ReadFile(filepath.Join(own, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "known_hosts"), "[127.0.0.1]:"+port+" "+string(key))
	write(filepath.Join(own, "config"), strings.Join([]string{
		"ListenAddress 127.0.0.1", "Port " + port, "HostKey " + filepath.Join(own, "host"), "AuthorizedKeysFile " + filepath.Join(dir, "id.pub"),
		"StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PidFile none", "PermitRootLogin prohibit-password",
	}, "\n")+"\n")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // which sshd empties itself into
		t.Fatal(err)
	}
	server := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(own, "config"))
	var said strings.Builder
	server.Stderr = &said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Log("sshd:", said.String())
		}
	})
	fleettest.Eventually(t, "an sshd", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return port, dir
}

func TestAnEngineBehindSSH(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	port, dir := sshServer(t)
	cfg.Host, cfg.SSH = "ssh://root@127.0.0.1:"+port+socket(e), dir
	rt := lives(t, cfg)
	if err := execs(t, rt); err != nil {
		t.Error(err)
	}
	stops(t, rt)

	wrong := cfg
	wrong.Host = "ssh://root@127.0.0.1:" + port + "/no/such.sock"
	if f := refused(t, wrong); f.Code != "docker.unreachable" || !strings.Contains(f.Why, "ssh to 127.0.0.1") {
		t.Errorf("a socket that is not there: %v", f)
	}
	for name, fake := range map[string]string{"known_hosts": "", "id": "no key\n"} {
		file := filepath.Join(dir, name)
		was, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(fake), 0o600); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"known_hosts": "Host key verification failed", "id": "Permission denied"}[name]
		if f := refused(t, cfg); f.Code != "docker.unreachable" || !strings.Contains(f.Why, want) || !strings.Contains(f.Remedy, "docker.ssh") {
			t.Errorf("without %s: %v", name, f)
		}
		if err := os.WriteFile(file, was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAddressesOfEnginesThatAreRefused(t *testing.T) {
	for _, c := range []docker.Config{
		{Host: "ssh://-oProxyCommand=id"},
		{Host: "ssh://host;id"},
		{Host: "ssh://$(id)@192.0.2.1"},
		{Host: "ssh://-l@192.0.2.1"},
		{Host: "ssh://192.0.2.1/run/docker.sock;id"},
		{Host: "ssh://192.0.2.1/run/a b"},
		{Host: "ssh://192.0.2.1/run/../%27x"},
		{Host: "ssh://192.0.2.1?x=y"},
		{Host: "ssh://user:hunter2@192.0.2.1"},
		{Host: "ssh://192.0.2.1:0"},
		{Host: "ssh://machine.example"}, // no address
		{Host: "tcp://machine.example:2376"},
		{Host: "tcp://0.0.0.0:2376"},
		{Host: "unix:///run/docker.sock", Address: netip.MustParseAddr("0.0.0.0")},
		{Host: "unix:///run/docker.sock", Address: netip.MustParseAddr("224.0.0.1")},
		{Host: "unix:///run/docker.sock", TLS: "/etc/tls"},
		{Host: "://"},
		{Host: "ftp://192.0.2.1"},
		{Host: "/run/docker.sock"}, // no scheme
	} {
		c.Owner, c.Dir = "nobody", t.TempDir()
		rt, err := docker.New(c)
		if err == nil {
			_ = rt.Close()
		}
		if f := fault.As(err); f == nil || f.Kind != fault.Invalid || f.Remedy == "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestInstancesAreReachedWhereTheEngineIs(t *testing.T) {
	e, cfg := dockertest.Start(t), config(t)
	at := netip.MustParseAddr(e.Address(t))
	cfg.Address = at
	rt := open(t, cfg)
	l := instance("far", agent.RestartPolicy{}, "wait")
	l.Port = 25000 + os.Getpid()%2000
	l.Env = map[string]string{"PORTAL_URL": "http://127.0.0.1:1"}
	if err := rt.Launch(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if in := observed(t, rt, "far"); in.Host != at.String() || in.Port != l.Port || !rt.Distant() {
		t.Errorf("observed %+v, distant %v", in, rt.Distant())
	}
	format := `{{(index (index .HostConfig.PortBindings "` + strconv.Itoa(l.Port) + `/tcp") 0).HostIp}}`
	if got := engineSays(t, e, cfg, "far", format); got != at.String() {
		t.Errorf("its port is published on %s", got)
	}
	for _, c := range rt.Report(t.Context()) {
		if c.Name == "portal_from_inside" && (c.OK || !strings.Contains(c.Remedy, "docker.portal-host")) {
			t.Errorf("the report says %+v", c)
		}
	}
	cfg.PortalHost = "portal.example"
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	rt = open(t, cfg)
	l = instance("other", agent.RestartPolicy{}, "wait")
	l.Env = map[string]string{"PORTAL_URL": "http://127.0.0.1:1"}
	if err := rt.Launch(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if env := engineSays(t, e, cfg, "other", "{{.Config.Env}}"); !strings.Contains(env, "PORTAL_URL=http://portal.example:1") {
		t.Errorf("its environment is %s", env)
	}
}
