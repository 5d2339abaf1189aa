package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// portalImage is what the cluster's node knows the portal's program as.
const portalImage = "docker.io/library/portal:bench"

// cluster is a Kubernetes cluster of one node, of the bench's own.
type cluster struct {
	script, root, kubeconfig string
}

// kubernetes starts a cluster whose node has an image of the portal. It needs root,
// containerd, and the programs that scripts/kubernetes.sh builds.
func (b *bench) kubernetes(ctx context.Context) (*cluster, error) {
	c := &cluster{script: filepath.Join(b.root, "scripts", "testenv"), root: filepath.Join(b.dir, "cluster")}
	out, err := exec.CommandContext(ctx, c.script, "up", "kubernetes", c.root).Output()
	if err != nil {
		return nil, fmt.Errorf("start a Kubernetes cluster: %w: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	c.kubeconfig = lines[len(lines)-1]
	if err := c.give(ctx, b); err != nil {
		return nil, errors.Join(err, c.end())
	}
	return c, nil
}

// give lets the node have the portal's image.
func (c *cluster) give(ctx context.Context, b *bench) (err error) {
	archive, err := os.Create(filepath.Join(b.dir, "portal-image.tar"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close(), os.Remove(archive.Name())) }()
	pack := exec.CommandContext(ctx, filepath.Join(b.root, "scripts", "image.sh"), portalImage, b.bin, "65532")
	pack.Stdout = archive
	if err := pack.Run(); err != nil {
		return fmt.Errorf("pack the portal's image: %w", err)
	}
	if out, err := exec.CommandContext(ctx, c.script, "image", "kubernetes", c.root, archive.Name()).CombinedOutput(); err != nil {
		return fmt.Errorf("give the node an image: %w: %s", err, out)
	}
	return nil
}

func (c *cluster) end() error {
	out, err := exec.Command(c.script, "down", "kubernetes", c.root).CombinedOutput()
	if err != nil {
		return fmt.Errorf("end the Kubernetes cluster: %w: %s", err, out)
	}
	return nil
}

// kubectl gives the lines that Kubernetes' command line prints.
func (c *cluster) kubectl(ctx context.Context, args ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.root, "bin", "kubectl"), append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
	var told strings.Builder
	cmd.Stderr = &told
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, told.String())
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// args lead a portal to the cluster.
func (c *cluster) args() []string {
	return []string{"--kubernetes-kubeconfig", c.kubeconfig, "--kubernetes-image", portalImage}
}

// living gives the pods of any portal, by name, that are not about to go.
func (c *cluster) living(ctx context.Context) (map[string]string, error) {
	lines, err := c.kubectl(ctx, "get", "pods", "-l", "platform-portal.io/owner", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.metadata.annotations.platform-portal\.io/instance} {.metadata.deletionTimestamp}{"\n"}{end}`)
	out := map[string]string{}
	for _, line := range lines {
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]] = f[1]
		}
	}
	return out, err
}

// everything are the kinds of objects that a portal makes for agents.
const everything = "pods,deployments,statefulsets,jobs,replicasets,secrets,configmaps,pvc,services,serviceaccounts,networkpolicies,poddisruptionbudgets"

// empty waits until no object of a portal is left, as the cluster takes them away by
// and by.
func (c *cluster) empty(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var left []string
	err := drive.Poll(ctx, 500*time.Millisecond, func() (_ bool, err error) {
		left, err = c.kubectl(ctx, "get", everything, "-l", "platform-portal.io/owner", "-o", "name")
		return len(left) == 0, err
	})
	if err != nil {
		return fmt.Errorf("there are left %v: %w", left, err)
	}
	return nil
}

// measureKubernetes measures the example fleet in pods, and the return of a
// container that crashed.
func measureKubernetes(ctx context.Context, b *bench) (err error) {
	c, err := b.kubernetes(ctx)
	if err != nil {
		return err
	}
	defer func() { b.clear(); err = errors.Join(err, c.end()) }()
	var all, crash spread
	for i := range 2 {
		p, err := b.portal(fmt.Sprintf("kubernetes%d", i), c.args()...)
		if err != nil {
			return err
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
		if err := b.exampleOn(ctx, p, "kubernetes"); err != nil {
			return err
		}
		d, err := timed(func() error { return b.deploy(ctx, p) })
		if err != nil {
			return err
		}
		all = append(all, d)
		if i == 0 {
			if crash, err = c.crashes(ctx, p, 8); err != nil {
				return err
			}
		}
		if err := b.retire(ctx, p); err != nil {
			return err
		}
		if err := c.empty(ctx); err != nil {
			return err
		}
	}
	b.row("kubernetes: 14 agents, DRAFT to RUNNING and ready", "< 60 s", "%s", all)
	b.row("kubernetes: container killed -9 for the first time, ready again", "back-off + 2 s", "%s", crash)
	return nil
}

// crashes ends the program in one pod of one agent after the other, and measures
// until the portal says that each is ready again.
func (c *cluster) crashes(ctx context.Context, p *drive.Portal, n int) (spread, error) {
	agents, err := p.Agents(ctx, "state=RUNNING")
	if err != nil {
		return nil, err
	}
	living, err := c.living(ctx)
	if err != nil {
		return nil, err
	}
	podOf := map[string]string{}
	for pod, instance := range living {
		podOf[instance] = pod
	}
	var times spread
	for _, a := range agents[:min(n, len(agents))] {
		a, err := p.Agent(ctx, a.ID)
		if err != nil || len(a.Instances) == 0 {
			return nil, fmt.Errorf("%s has no instance: %w", a.ID, err)
		}
		in := a.Instances[0]
		if err := c.kill(ctx, podOf[in.ID]); err != nil {
			return nil, err
		}
		d, err := timed(func() error {
			return drive.Poll(ctx, 20*time.Millisecond, func() (bool, error) {
				now, err := p.Agent(ctx, a.ID)
				return err == nil && len(now.Instances) > 0 && now.Instances[0].Restarts > in.Restarts && now.Instances[0].State == "running" &&
					now.Instances[0].Ready != nil && *now.Instances[0].Ready, err
			})
		})
		if err != nil {
			return nil, err
		}
		times = append(times, d)
	}
	return times, nil
}

// kill ends the first process of a pod's container as the node sees it.
func (c *cluster) kill(ctx context.Context, pod string) error {
	ids, err := c.kubectl(ctx, "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID}")
	if err != nil || len(ids) != 1 {
		return fmt.Errorf("pod %s has no container: %w", pod, err)
	}
	_, id, _ := strings.Cut(ids[0], "://")
	task := exec.CommandContext(ctx, "ctr", "--address", filepath.Join(c.root, "containerd.sock"), "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id)
	if out, err := task.CombinedOutput(); err != nil {
		return fmt.Errorf("kill %s: %w: %s", pod, err, out)
	}
	return nil
}

// measureKubernetesKills kills the portal at random moments while pods are made,
// changed and removed.
func measureKubernetesKills(ctx context.Context, b *bench) (err error) {
	c, err := b.kubernetes(ctx)
	if err != nil {
		return err
	}
	defer func() { b.clear(); err = errors.Join(err, c.end()) }()
	p, err := b.portal("kubernetes-kills", c.args()...)
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	s := drive.NewSiege(p, 6, uint64(time.Now().UnixNano()))
	s.Window, s.Living, s.Absent = 1500*time.Millisecond, c.living, true
	for i := range s.Size {
		spec := map[string]any{"name": fmt.Sprint("victim-", i), "template": "blank", "runtime": "kubernetes", "replicas": 1 + i%2}
		if err := p.Call(ctx, http.MethodPost, "/agents", spec, nil); err != nil {
			return err
		}
	}
	start := time.Now()
	for i := range b.kills {
		if err := s.Round(ctx); err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
	}
	took := time.Since(start)
	if err := s.Clear(ctx); err != nil {
		return err
	}
	if err := c.empty(ctx); err != nil {
		return err
	}
	b.row(fmt.Sprintf("kubernetes: portal killed -9 %d times at random moments", b.kills), "no stray object",
		"none; %d operations ended in %s", len(s.Accepted), round(took))
	return nil
}
