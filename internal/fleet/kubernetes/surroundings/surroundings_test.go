package surroundings

import (
	"encoding/json"
	"testing"
)

// A portal that is a pod itself is let through by its namespace, and nobody else from
// outside the agents' own.
func TestThePortalsNamespaceReachesAgents(t *testing.T) {
	k := &Keeper{Namespace: "agents", Portal: "portal", Labels: func(id string) map[string]string { return map[string]string{"agent": id} }}
	for _, c := range []struct {
		a    Agent
		want string
	}{
		{Agent{ID: "a", Main: true, Ports: []int{7000}},
			`[{"from":[{"podSelector":{}},{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"portal"}}}],` +
				`"ports":[{"port":"agent","protocol":"TCP"},{"port":7000,"protocol":"TCP"}]}]`},
		{Agent{ID: "b"}, `[]`},
	} {
		got, err := json.Marshal(k.policy(c.a)["ingress"])
		if err != nil || string(got) != c.want {
			t.Errorf("%s is reached by %s, %v; want %s", c.a.ID, got, err, c.want)
		}
	}
	k.Portal = k.Namespace
	got, err := json.Marshal(k.neighbours())
	if err != nil || string(got) != `[{"podSelector":{}}]` {
		t.Errorf("neighbours are %s, %v", got, err)
	}
}

// A port 80 of the agent's own is not taken from it.
func TestFixedPortsKeepTheirNumbers(t *testing.T) {
	got, err := json.Marshal(Agent{Main: true, Ports: []int{80}}.servicePorts())
	if err != nil || string(got) != `[{"name":"port-80","port":80,"protocol":"TCP","targetPort":80}]` {
		t.Errorf("ports are %s, %v", got, err)
	}
}
