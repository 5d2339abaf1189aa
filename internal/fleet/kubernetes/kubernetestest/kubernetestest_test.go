package kubernetestest_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// address is the cluster's, once a test noted it.
var address string

func TestMain(m *testing.M) {
	code := kubernetestest.Main(m)
	if left := left(); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left of the cluster that ended:", left)
		code = 1
	}
	os.Exit(code)
}

// left names what is still there of the cluster's network and control groups.
// (Main itself looks for processes and mounts.)
func left() []string {
	parts := strings.Split(address, ".") // 172.29.N.1
	if len(parts) != 4 {
		return nil
	}
	var found []string
	for _, pattern := range []string{"/sys/class/net/portal-k8s", "/sys/fs/cgroup/testenv-k8s", "/sys/fs/cgroup/*/testenv-k8s"} {
		names, _ := filepath.Glob(pattern + parts[2])
		found = append(found, names...)
	}
	return found
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ticker}
spec:
  replicas: 2
  selector: {matchLabels: {app: ticker}}
  template:
    metadata: {labels: {app: ticker}}
    spec:
      containers:
      - name: main
        image: ` + kubernetestest.Image + `
        args: [ticks]
        imagePullPolicy: Never
        resources: {limits: {memory: 64Mi, cpu: 200m}}
        volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: ticker}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: ticker}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

func TestPodsRunAndTheAPIServerComesBack(t *testing.T) {
	c := kubernetestest.Start(t)
	address = c.Kubectl(t, "get", "node", c.Node, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
	file := filepath.Join(t.TempDir(), "deployment.yaml")
	if err := os.WriteFile(file, []byte(deployment), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "apply", "-f", file)
	c.Kubectl(t, "rollout", "status", "deployment/ticker", "--timeout=3m")
	for end := time.Now().Add(time.Minute); !strings.Contains(c.Kubectl(t, "logs", "deployment/ticker"), "tick 2"); {
		if time.Now().After(end) {
			t.Fatal("the pod prints nothing")
		}
	}
	if out := c.Kubectl(t, "exec", "deployment/ticker", "--", kubernetestest.ProgramPath, "env", "HOSTNAME", "end"); !strings.HasPrefix(out, "HOSTNAME=ticker-") {
		t.Errorf("a command in the pod prints %q", out)
	}
	before := c.Kubectl(t, "get", "pods", "-o", "name")

	c.Halt(t)
	if out, err := c.Try("get", "pods", "--request-timeout=5s"); err == nil {
		t.Errorf("the API server was halted and says %q", out)
	}
	c.Resume(t)
	if after := c.Kubectl(t, "get", "pods", "-o", "name"); after != before {
		t.Errorf("pods were %q and are %q after the API server was away", before, after)
	}
	c.Kubectl(t, "delete", "-f", file, "--timeout=2m")
}

func TestPodsAreReachedFromHere(t *testing.T) {
	c := kubernetestest.Start(t)
	// Nobody listens in the pod: it refuses the connection, which takes a route to it.
	c.Kubectl(t, "run", "still", "--image="+kubernetestest.Image, "--image-pull-policy=Never", "--", "wait")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/still", "--timeout=2m")
	pod := c.Kubectl(t, "get", "pod", "still", "-o", "jsonpath={.status.podIP}")
	_, err := net.DialTimeout("tcp", pod+":9", 20*time.Second)
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("connect to %s: %v", pod, err)
	}
	c.Kubectl(t, "delete", "pod", "still", "--grace-period=0", "--force")
}
