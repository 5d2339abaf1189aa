// Package kubernetestest runs a Kubernetes cluster of one node for the tests of one
// test binary: the real programs, with everything in a directory of its own. Nothing
// is left afterwards.
//
// The cluster has no DNS, and no proxy that leads addresses of services to pods; pods
// are reached at their own addresses, from this machine too.
package kubernetestest

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/fleet/fleettest/testenv"
)

// Image is the name of an image that holds nothing but the program of the
// conformance suite, at ProgramPath, and runs it. The node has it; none can be pulled.
const (
	Image       = testenv.Image
	ProgramPath = testenv.ProgramPath
)

// Cluster is a Kubernetes cluster that runs.
type Cluster struct {
	Kubeconfig string // path of the admin's
	Node       string // name of its node
}

var shared = testenv.Env{
	Kind:     "kubernetes",
	Needs:    "root and, on Debian, the packages containerd, containernetworking-plugins, iproute2 and openssl",
	Programs: []string{"containerd", "ctr", "ip", "openssl", "/usr/lib/cni/bridge"},
	Check: func(checkout string) error {
		out, err := exec.Command(filepath.Join(checkout, "scripts", "kubernetes.sh"), "--built").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s (%w)", strings.TrimSpace(string(out)), err)
		}
		return nil
	},
}

func init() { shared.Prepare = prepare }

func prepare(string) error {
	archive, err := shared.Archive()
	if err != nil {
		return err
	}
	return shared.Import(archive)
}

// Main runs the tests and ends the cluster, if one of them started it. It gives the
// exit code; TestMain passes it to os.Exit.
func Main(m testenv.Runner) int { return shared.Main(m) }

// Start gives the cluster, which holds Image; it runs until the test binary ends.
// Where none can run the test is skipped, but fails if CI=true.
func Start(t testing.TB) *Cluster {
	t.Helper()
	return &Cluster{Kubeconfig: shared.Start(t), Node: "node"}
}

// Halt ends the API server; pods go on.
func (c *Cluster) Halt(t testing.TB) {
	t.Helper()
	shared.Halt(t)
}

// Resume starts the API server again.
func (c *Cluster) Resume(t testing.TB) {
	t.Helper()
	shared.Resume(t)
}

// HaltNode ends the kubelet; pods go on, and the cluster takes the node for lost.
func (c *Cluster) HaltNode(t testing.TB) {
	t.Helper()
	shared.HaltNode(t)
}

// ResumeNode starts the kubelet again.
func (c *Cluster) ResumeNode(t testing.TB) {
	t.Helper()
	shared.ResumeNode(t)
}

// Import gives the node an image of a static program, to be run as the user.
func (c *Cluster) Import(t testing.TB, name, program, user string) {
	t.Helper()
	archive, err := shared.Pack(name, program, user)
	if err == nil {
		err = shared.Import(archive)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Kubectl runs the command line of Kubernetes as the cluster's admin and gives what
// it prints.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.Try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Try is Kubectl where failure is expected.
func (c *Cluster) Try(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(shared.Root(), "bin", "kubectl"), append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
	var warnings strings.Builder
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s%s", strings.Join(args, " "), err, out, warnings.String())
	}
	return strings.TrimSpace(string(out)), nil
}
