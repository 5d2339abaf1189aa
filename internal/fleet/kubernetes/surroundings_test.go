package kubernetes_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// pair describes two instances of an agent, each with a port of its own.
func pair(id string) []fleet.Launch {
	list := []fleet.Launch{launch(id, "wait"), launch(id, "wait")}
	for i := range list {
		list[i].Index, list[i].InstanceID, list[i].Port = i, fleet.InstanceID(id, 1, i), 9001+i
		list[i].Ports = []agent.Port{{Name: "fixed", Port: 7000}}
		list[i].Env, list[i].Open = map[string]string{"PORT": "9001", "KEY": "hush"}, []string{"PORT"}
	}
	return list
}

func TestAgentsHaveTheirObjects(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, cfg := in(t, "around", "pod-security.kubernetes.io/enforce=restricted")
	get := func(args ...string) string { return c.Kubectl(t, append([]string{"-n", "around", "get"}, args...)...) }
	for _, l := range pair("crew") {
		if err := rt.Launch(bounded(t), l); err != nil {
			t.Fatal(err)
		}
	}
	own := "portal-" + cfg.Owner + "-crew-agent"

	// Others reach it by its name, at the port of each of its pods.
	if got := get("service", "crew", "-o", "jsonpath={range .spec.ports[*]}{.port}>{.targetPort} {end}"); got != "7000>7000 80>agent" {
		t.Errorf("ports of the service: %s", got)
	}
	fleettest.Eventually(t, "that its pods are behind the service", func() bool {
		ends := get("endpointslices", "-l", "kubernetes.io/service-name=crew", "-o",
			`jsonpath={range .items[*]}{range .ports[*]}{.port} {end}{range .endpoints[*]}{.conditions.ready} {end}{end}`)
		return strings.Contains(ends, "9001") && strings.Contains(ends, "9002") && strings.Count(ends, "true") == 2
	})

	// Its pods are nobody, and may nothing.
	if got := get("pods", "-o", "jsonpath={range .items[*]}{.spec.serviceAccountName} {.spec.automountServiceAccountToken} {.spec.volumes[*].projected} {end}"); strings.Count(got, own+" false") != 2 || strings.Contains(got, "serviceAccountToken") {
		t.Errorf("accounts of its pods: %s", got)
	}
	if out, err := c.Try("auth", "can-i", "--list", "-n", "around", "--as=system:serviceaccount:around:"+own); err != nil || strings.Contains(out, "pods") || strings.Contains(out, "secrets") {
		t.Errorf("the account may %s, %v", out, err)
	}
	if got := get("networkpolicy", own, "-o", "jsonpath={.spec.policyTypes} {range .spec.ingress[*].ports[*]}{.port} {end}{.spec.ingress[*].from}"); got != `["Ingress"] agent 7000` {
		t.Errorf("the network policy: %s", got)
	}
	if got := get("poddisruptionbudget", own, "-o", "jsonpath={.spec.maxUnavailable}"); got != "1" {
		t.Errorf("so many may be taken away at once: %s", got)
	}

	// What may be seen is apart from what may be secret.
	if got := get("configmaps", "-l", "platform-portal.io/owner="+cfg.Owner, "-o", "jsonpath={.items[*].data}"); !strings.Contains(got, `"PORT":"9001"`) || strings.Contains(got, "hush") || strings.Contains(got, "KEY") {
		t.Errorf("the open part of the environment: %s", got)
	}
	if _, out, err := rt.Exec(bounded(t), "crew", fleet.InstanceID("crew", 1, 0), []string{kubernetestest.ProgramPath, "env", "KEY", "end"}); err != nil || out != "KEY=hush\n" {
		t.Errorf("its secret is %q, %v", out, err)
	}

	held, err := rt.Holdings(bounded(t), "crew")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Service crew", "ServiceAccount " + own, "NetworkPolicy " + own, "PodDisruptionBudget " + own} {
		if !slices.ContainsFunc(held, func(h fleet.Holding) bool { return h.Kind == "object" && h.Name == name }) {
			t.Errorf("%s is not among what it holds: %+v", name, held)
		}
	}
	if err := rt.Remove(bounded(t), "crew"); err != nil {
		t.Fatal(err)
	}
	if got := get("services,serviceaccounts,networkpolicies,poddisruptionbudgets,configmaps,secrets,pods", "-l", "platform-portal.io/owner", "-o", "name"); got != "" {
		t.Errorf("left are %s", got)
	}
	if agents, err := rt.Agents(bounded(t)); err != nil || len(agents) > 0 {
		t.Errorf("left are %v, %v", agents, err)
	}
}

func TestTheNetworkOfAgentsCanBeNarrowed(t *testing.T) {
	c := kubernetestest.Start(t)
	c.Kubectl(t, "create", "namespace", "narrow")
	cfg := config(t)
	cfg.Namespace, cfg.Ingress, cfg.Egress = "narrow", []string{"10.1.0.0/16"}, []string{"10.2.0.0/16"}
	rt := open(t, cfg)
	if err := rt.Prepare(bounded(t), pair("shy")[0]); err != nil {
		t.Fatal(err)
	}
	got := c.Kubectl(t, "get", "networkpolicy", "-n", "narrow", "-o", "jsonpath={.items[*].spec}")
	for _, want := range []string{
		`"from":[{"podSelector":{}},{"ipBlock":{"cidr":"10.1.0.0/16"}}]`,
		`"to":[{"podSelector":{}},{"ipBlock":{"cidr":"10.2.0.0/16"}}]`, `"policyTypes":["Ingress","Egress"]`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func TestAgentsThatEndHaveNoDisruptionBudget(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, _ := in(t, "ending")
	l := pair("brief")[0]
	for policy, want := range map[string]int{"always": 1, "never": 0, "on-failure": 0} {
		if l.Restart.Policy = policy; policy != "always" {
			l.Restart.Policy = "always"
			if err := rt.Prepare(bounded(t), l); err != nil {
				t.Fatal(err)
			}
			l.Restart.Policy = policy
		}
		if err := rt.Prepare(bounded(t), l); err != nil {
			t.Fatal(err)
		}
		if got := c.Kubectl(t, "get", "poddisruptionbudgets", "-n", "ending", "-o", "name"); len(strings.Fields(got)) != want {
			t.Errorf("with the restart policy %s there are %q", policy, got)
		}
	}
}

func TestNamesOfOthersAreNotTaken(t *testing.T) {
	c := kubernetestest.Start(t)
	rt, _ := in(t, "named")
	c.Kubectl(t, "create", "service", "clusterip", "popular", "--tcp=80:80", "-n", "named")
	err := rt.Prepare(bounded(t), pair("popular")[0])
	if f := fault.As(err); f == nil || f.Code != "kubernetes.name_taken" || !strings.Contains(f.What, "popular") || f.Remedy == "" {
		t.Errorf("an agent with the name of a service of others: %v", err)
	}
	if err := rt.Remove(bounded(t), "popular"); err != nil {
		t.Error(err)
	}
	if got := c.Kubectl(t, "get", "service", "popular", "-n", "named", "-o", "jsonpath={.spec.selector.app} {.metadata.labels.platform-portal\\.io/owner}"); got != "popular" {
		t.Errorf("their service is now %q", got)
	}
}
