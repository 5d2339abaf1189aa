package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// connection gives how the engine is spoken to, with ssh if that is the way, and
// fills in the address at which its machine is reached. Anything that could be read as something else by ssh or by a
// shell is refused.
func connection(cfg *Config) ([]client.Opt, *ssh, error) {
	refuse := func(name, format string, args ...any) ([]client.Opt, *ssh, error) {
		example := "unix:///var/run/docker.sock, tcp://192.0.2.7:2376 or ssh://portal@192.0.2.7"
		if name == "address" {
			example = "192.0.2.7, the address of the engine's machine"
		}
		return nil, nil, fault.New(fault.Invalid, "docker."+name, "%s %.200q can't be used", upkeep.Called("The Docker engine", cfg.Name), cfg.Host).
			Because(format, args...).Do("Correct %s, for example %s.", upkeep.Setting(cfg.Name, name), example)
	}
	u, err := url.Parse(cfg.Host)
	if err != nil {
		return refuse("host", "it is not a URL")
	}
	if _, secret := u.User.Password(); secret {
		cfg.Host = u.Redacted() // which is told
		return refuse("host", "a password has no place in it")
	}
	options := []client.Opt{client.WithUserAgent("platform-portal")}
	var s *ssh
	switch {
	case cfg.TLS != "" && u.Scheme != "tcp":
		return refuse("tls", "TLS is only spoken with tcp://")
	case u.Scheme == "ssh":
		if s, err = newSSH(u, cfg.SSH); err != nil {
			return refuse("host", "%v", err)
		}
		// The name is never looked up.
		options = append(options, client.WithHost("http://docker"), client.WithDialContext(s.dial))
	case u.Scheme == "unix", u.Scheme == "tcp":
		options = append(options, client.WithHost(cfg.Host))
	default:
		return refuse("host", "it has to begin with unix://, tcp:// or ssh://")
	}
	if cfg.TLS != "" {
		options = append(options, client.WithTLSClientConfig(
			filepath.Join(cfg.TLS, "ca.pem"), filepath.Join(cfg.TLS, "cert.pem"), filepath.Join(cfg.TLS, "key.pem")))
	}
	at := cfg.Address
	if !at.IsValid() && (u.Scheme == "unix" || u.Hostname() == "localhost") {
		at = loopback
	}
	if !at.IsValid() {
		if at, err = netip.ParseAddr(u.Hostname()); err != nil {
			return refuse("address", "%q is a name, and instances are only reached at an address", u.Hostname())
		}
	}
	at = at.Unmap()
	if !at.IsLoopback() && (!at.IsGlobalUnicast() || at.Zone() != "") {
		return refuse("address", "%s is not the address of one machine", at)
	}
	cfg.Address = at
	return options, s, nil
}

// unreachable makes a fault of a way to the engine that is closed.
func (r *Runtime) unreachable(err error) error {
	why, do := brief(err), "Start the engine, or correct "+r.setting("host")+"; `portal doctor` checks it. Instances go on if the engine keeps them (live-restore)."
	switch {
	case r.ssh != nil:
		do = "Let " + r.setting("ssh") + " hold a key (id) that the machine accepts and the machine's own key (known_hosts). The command docker has to be there, the engine has to run, and the user has to be allowed to use it."
		if said := r.ssh.trouble.Load(); said != nil {
			why = (*said).Error()
		}
	case strings.Contains(why, "tls: ") || strings.Contains(why, "x509: ") || strings.Contains(why, "--tlsverify"):
		do = "Let " + r.setting("tls") + " hold the engine's ca.pem, and a cert.pem and key.pem that the engine accepts; the engine's certificate has to name its address."
	}
	return fault.New(fault.Unavailable, "docker.unreachable", "%s %s can't be reached", r.engine(), r.cfg.Host).Because("%s", why).Do("%s", do).Wrap(err)
}

// remote tells whether instances are on another machine than the portal.
func (r *Runtime) remote() bool { return !r.cfg.Address.IsLoopback() }

// Distant implements fleet.Distant.
func (r *Runtime) Distant() bool { return r.remote() }

// host is where instances are reached; "" for this machine.
func (r *Runtime) host() string {
	if !r.remote() {
		return ""
	}
	return r.cfg.Address.String()
}

// ssh speaks to an engine through the command `docker system dial-stdio` on its
// machine, which the machine's own ssh runs. The key of the machine has to be known.
type ssh struct {
	args    []string
	name    string
	begin   chan struct{}         // bounds the connections that are being made
	trouble atomic.Pointer[error] // why the last one broke; nil since one worked
}

var (
	sshUser   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)
	sshHost   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?$`)
	sshSocket = regexp.MustCompile(`^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$`)
)

func newSSH(u *url.URL, dir string) (*ssh, error) {
	user, host, socket := u.User.Username(), u.Hostname(), u.Path
	port, err := strconv.Atoi(u.Port())
	switch {
	case user != "" && !sshUser.MatchString(user):
		return nil, errors.New("the user has characters that are not allowed")
	case !sshHost.MatchString(host):
		return nil, errors.New("the host has characters that are not allowed, or none")
	case u.Port() != "" && (err != nil || port < 1 || port > 65535):
		return nil, errors.New("the port is not one")
	case socket != "" && !sshSocket.MatchString(socket):
		return nil, errors.New("the path of the socket has characters that are not allowed")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("it has more than user, host, port and the path of a socket")
	}
	args := []string{"-T"}
	option := func(v string) { args = append(args, "-o", v) }
	if dir != "" {
		if dir, err = filepath.Abs(dir); err != nil || strings.ContainsAny(dir, "\"%\\\n") {
			return nil, errors.New("the directory of the key has a path that ssh can't be told")
		}
		args = append(args, "-F", "none", "-i", filepath.Join(dir, "id"))
		option("IdentitiesOnly=yes")
		option("UserKnownHostsFile=\"" + filepath.Join(dir, "known_hosts") + "\"")
		option("GlobalKnownHostsFile=none")
	}
	for _, v := range []string{
		"BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "PermitLocalCommand=no",
		"ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4", "LogLevel=ERROR",
	} {
		option(v)
	}
	if user != "" {
		args = append(args, "-l", user)
	}
	if port != 0 {
		args = append(args, "-p", strconv.Itoa(port))
	}
	args = append(args, "--", host, "docker")
	if socket != "" {
		args = append(args, "--host", "unix://"+socket)
	}
	return &ssh{args: append(args, "system", "dial-stdio"), name: host, begin: make(chan struct{}, 4)}, nil
}

// dial begins a connection; whether it comes about shows when it is read.
func (s *ssh) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	select { // servers refuse many at once who have not yet said who they are
	case s.begin <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	free := sync.OnceFunc(func() { <-s.begin })
	c, err := s.start(free)
	if err != nil {
		free()
		return nil, fmt.Errorf("ssh to %s: %w", s.name, err)
	}
	time.AfterFunc(10*time.Second, free) // a connection that nobody reads
	return c, nil
}

func (s *ssh) start(free func()) (net.Conn, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ssh"), os.NewFile(uintptr(pair[1]), "ssh")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	c := &sshConn{Conn: conn, ssh: s, free: free, ended: make(chan struct{})}
	c.command = exec.Command("ssh", s.args...)
	c.command.Stdin, c.command.Stdout, c.command.Stderr = theirs, theirs, &c.complaint
	c.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt of the portal is not for it
	if err := c.command.Start(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go func() {
		c.failed = c.command.Wait()
		close(c.ended)
	}()
	return c, nil
}

// sshConn is a connection that a command carries.
type sshConn struct {
	net.Conn
	ssh       *ssh
	command   *exec.Cmd
	complaint head
	free      func()
	ended     chan struct{} // closed when the command has
	failed    error         // how, then
}

// Read implements net.Conn. An end of the connection that the command complains of
// is an error.
func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.free()
	if n > 0 {
		c.ssh.trouble.Store(nil)
	}
	return n, c.explain(err)
}

// Write implements net.Conn.
func (c *sshConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

// explain gives as the reason of a broken connection what the command says.
func (c *sshConn) explain(err error) error {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return err
	}
	select {
	case <-c.ended:
	case <-time.After(5 * time.Second):
		return err
	}
	if c.failed == nil {
		return err
	}
	said := fmt.Errorf("ssh to %s: %w: %s", c.ssh.name, c.failed, strings.Join(strings.Fields(c.complaint.String()), " "))
	c.ssh.trouble.Store(&said)
	return said
}

// CloseWrite lets the engine know that no more comes.
func (c *sshConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *sshConn) Close() error {
	c.free()
	err := c.Conn.Close()
	_ = c.command.Process.Kill()
	<-c.ended
	return err
}
