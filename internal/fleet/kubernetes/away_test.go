package kubernetes_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// changing tells requests that change something.
func changing(r *http.Request) bool { return r.Method != http.MethodGet }

func TestABusyAPIServerIsWaitedFor(t *testing.T) {
	rt, _, b := through(t, "busy")
	l := launch("patient", "wait")
	var refused atomic.Int32
	b.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !changing(r) || refused.Add(1) > 3 {
			return false
		}
		w.Header().Set("Retry-After", "1")
		status(w, http.StatusTooManyRequests, "TooManyRequests", "too many requests")
		return true
	})
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatalf("a server that was busy for three requests: %v", err)
	}
	if got := observed(t, rt, l); got.State != fleet.InstanceRunning {
		t.Errorf("observed %+v", got)
	}
	b.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !changing(r) {
			return false
		}
		w.Header().Set("Retry-After", "1")
		status(w, http.StatusTooManyRequests, "TooManyRequests", "too many requests")
		return true
	})
	if f := fault.As(rt.Stop(bounded(t), l.AgentID, l.InstanceID, 0)); f == nil || f.Code != "kubernetes.busy" || f.Remedy == "" {
		t.Errorf("a server that stays busy: %v", f)
	}
	b.set(nil)
	if err := rt.Stop(bounded(t), l.AgentID, l.InstanceID, 0); err != nil {
		t.Error(err)
	}
}

// A range of addresses that is used up does not get free by waiting.
func TestNoAddressForAServiceIsToldAtOnce(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg, b := through(t, "addressless")
	var asked atomic.Int32
	b.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !changing(r) || !strings.Contains(r.URL.Path, "/services/") {
			return false
		}
		asked.Add(1)
		status(w, http.StatusInternalServerError, "InternalError", "Internal error occurred: failed to allocate a serviceIP: range is full")
		return true
	})
	l := launch("nameless", "wait")
	l.Port = 9001
	for _, try := range []func(context.Context, fleet.Launch) error{rt.Prepare, rt.Launch} {
		f := fault.As(try(bounded(t), l))
		if f == nil || f.Kind != fault.Conflict || f.Code != "kubernetes.addresses" || !strings.Contains(f.Why, "range is full") || !strings.Contains(f.Remedy, "ServiceCIDR") {
			t.Errorf("told is %v", f)
		}
	}
	if asked.Load() != 2 {
		t.Errorf("it was asked for %d times", asked.Load())
	}
	if left := c.Kubectl(t, "get", "pods,secrets,deployments,statefulsets", "-n", cfg.Namespace, "-l", "platform-portal.io/owner", "-o", "name"); left != "" {
		t.Errorf("left is %s", left)
	}
	b.set(nil)
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Errorf("with an address: %v", err)
	}
}

// A version that the server has forgotten is no reason to stop listening.
func TestWatchesGoOnAfterTheirVersionExpired(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg, b := through(t, "expired")
	l := launch("heard", "wait")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	var expired atomic.Int32
	b.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("watch") == "" || r.URL.Query().Get("resourceVersion") == "" {
			return false
		}
		switch n := expired.Add(1); {
		case n <= 4: // as an answer
			status(w, http.StatusGone, "Expired", "too old resource version")
			return true
		case n <= 8: // as the last thing that a watch says
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","message":"too old resource version","code":410}}`)
			return true
		}
		return false
	})
	lists := b.count(`^GET /api/v1/namespaces/expired/pods\?.*limit=`)
	b.drop() // all watches break off, and are resumed
	fleettest.Eventually(t, "that all is read anew", func() bool {
		return expired.Load() > 8 && b.count(`^GET /api/v1/namespaces/expired/pods\?.*limit=`) > lists
	})
	before := observed(t, rt, l)
	c.Kubectl(t, "delete", "pod", "-n", cfg.Namespace, "--grace-period=1", "-l", "platform-portal.io/agent=heard")
	fleettest.Eventually(t, "that changes are heard", func() bool {
		now := observed(t, rt, l)
		return now.State == fleet.InstanceRunning && !now.StartedAt.Equal(before.StartedAt)
	})
}

func TestCredentialsMayExpireAndBeRenewed(t *testing.T) {
	c := kubernetestest.Start(t)
	_, cfg := modest(t, c, "tokens")
	issue := func() string { return c.Kubectl(t, "create", "token", "portal", "-n", "tokens") }
	token := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(issue())
	all, err := clientcmd.LoadFromFile(cfg.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all.AuthInfos {
		one.Token, one.TokenFile = "", token
	}
	if err := clientcmd.WriteToFile(*all, cfg.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = t.TempDir()
	rt := open(t, cfg)
	l := launch("keeper", "wait")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	before := observed(t, rt, l)
	c.Kubectl(t, "delete", "serviceaccount", "portal", "-n", "tokens") // and with it every token
	fleettest.Eventually(t, "that it is told", func() bool {
		f := fault.As(rt.Prepare(bounded(t), l))
		return f != nil && f.Code == "kubernetes.unauthorized" && f.Remedy != ""
	})
	if checks := rt.Report(bounded(t)); len(checks) != 1 || !checks[0].Down || !strings.Contains(checks[0].Why, "does not know") {
		t.Errorf("reported %+v", checks)
	}
	c.Kubectl(t, "create", "serviceaccount", "portal", "-n", "tokens")
	write(issue())
	fleettest.Eventually(t, "that the new token is used", func() bool { return rt.Prepare(bounded(t), l) == nil })
	fleettest.Eventually(t, "that what ran is seen to run", func() bool {
		list, err := rt.Observe(bounded(t), l.AgentID)
		return err == nil && len(list) == 1 && list[0].State == fleet.InstanceRunning && list[0].StartedAt.Equal(before.StartedAt) && list[0].Restarts == 0
	})
}

func TestTheAPIServerMayGoAwayWhileAnInstanceIsLaunched(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "interrupted")
	l := launch("halfway", "wait")
	launched := make(chan error, 1)
	go func() { launched <- rt.Launch(bounded(t), l) }()
	fleettest.Eventually(t, "that it is half done", func() bool {
		out, _ := c.Try("get", "secrets", "-n", cfg.Namespace, "-o", "name")
		return out != ""
	})
	c.Halt(t)
	c.Resume(t)
	if err := <-launched; err != nil && !fault.Is(err, fault.Unavailable) {
		t.Errorf("launched meanwhile: %v", err)
	}
	fleettest.Eventually(t, "that it can be launched", func() bool { return rt.Launch(bounded(t), l) == nil })
	if got := observed(t, rt, l); got.State != fleet.InstanceRunning {
		t.Errorf("observed %+v", got)
	}
	pods := strings.Fields(c.Kubectl(t, "get", "pods", "-n", cfg.Namespace, "-o", "name"))
	if len(pods) != 1 {
		t.Errorf("there are %v", pods)
	}
	if err := rt.Remove(bounded(t), l.AgentID); err != nil {
		t.Fatal(err)
	}
	if left := c.Kubectl(t, "get", "all,secrets,configmaps", "-n", cfg.Namespace, "-l", "platform-portal.io/owner", "-o", "name"); left != "" {
		t.Errorf("left are %s", left)
	}
}

func TestTwoPortalsShareANamespace(t *testing.T) {
	c := kubernetestest.Start(t)
	one, cfg := in(t, "both")
	second := config(t)
	second.Namespace = cfg.Namespace
	two := open(t, second)
	mine, theirs, same := launch("mine", "wait"), launch("theirs", "wait"), pair("mine")[0]
	mine.Port = 9001
	if err := one.Launch(bounded(t), mine); err != nil {
		t.Fatal(err)
	}
	if err := two.Launch(bounded(t), theirs); err != nil {
		t.Fatal(err)
	}
	if f := fault.As(two.Launch(bounded(t), same)); f == nil || f.Kind != fault.Conflict || f.Code != "kubernetes.name_taken" || f.Remedy == "" {
		t.Errorf("an agent of the same name on the other portal: %v", f)
	}
	if err := two.Remove(bounded(t), "mine"); err != nil {
		t.Error(err)
	}
	for _, rt := range []fleet.Runtime{one, two} {
		list, err := rt.Observe(bounded(t), "")
		if err != nil || len(list) != 1 || list[0].State != fleet.InstanceRunning {
			t.Errorf("observed %+v, %v", list, err)
		}
	}
	if agents, err := two.Agents(bounded(t)); err != nil || !slices.Equal(agents, []string{"theirs"}) {
		t.Errorf("the other one has %v, %v", agents, err)
	}
	if got := c.Kubectl(t, "get", "service", "mine", "-n", "both", "-o", `jsonpath={.metadata.labels.platform-portal\.io/owner}`); got != cfg.Owner {
		t.Errorf("the service belongs to %s", got)
	}
}

func TestANodeMayBeLostAndComeBack(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, _ := in(t, "nodes")
	l := served("survivor")
	if err := rt.Launch(bounded(t), l); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod", "-n", "nodes", "-l", "platform-portal.io/agent=survivor", "--timeout=2m")
	before := observed(t, rt, l)
	c.HaltNode(t)
	defer c.ResumeNode(t)
	c.Kubectl(t, "wait", "--for=condition=Ready=Unknown", "node/"+c.Node, "--timeout=5m")
	fleettest.Eventually(t, "that the node is missed", func() bool {
		now := observed(t, rt, l)
		return strings.Contains(now.Reason, "not heard of") && now.State == fleet.InstanceRunning && now.Remedy != ""
	})
	brief, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := rt.Launch(brief, launch("late", "wait")); err == nil {
		t.Error("an instance was launched on a node that is lost")
	}
	c.ResumeNode(t)
	fleettest.Eventually(t, "that all is well again", func() bool {
		now := observed(t, rt, l)
		return now.State == fleet.InstanceRunning && now.Reason == "" && now.StartedAt.Equal(before.StartedAt) && now.Restarts == 0
	})
	fleettest.Eventually(t, "that what was begun goes on", func() bool { return rt.Launch(bounded(t), launch("late", "wait")) == nil })
}
