// Package surroundings keeps the objects that an agent has on a cluster beside its
// pods: the name under which others reach it, the account of its pods, what may
// reach them, how many of them may be taken away at once, and the open part of
// their environment.
package surroundings

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// MainPort is the name that pods give the port PORT, which is a different number in
// each of them; WebPort is the port of the service that leads there.
const (
	MainPort = "agent"
	WebPort  = 80
)

// fresh is for how long what was written is taken to be there still.
const fresh = 30 * time.Second

// Keeper writes, lists and removes the objects. Errors are those of the client, and
// what Owned says.
type Keeper struct {
	Client    rest.Interface
	Namespace string
	Manager   string // of fields
	Note      string // annotation that holds the id of the agent
	Labels    func(agentID string) map[string]string
	// Owned refuses an object of somebody else.
	Owned func(kind string, o meta.ObjectMeta) error

	Portal  string   // namespace of the portal's own pod; "" where it is outside of the cluster
	Ingress []string // further networks that may reach agents
	Egress  []string // networks that agents may reach; all where empty

	mu      sync.Mutex
	written map[string]stamp // by agent
}

// stamp is what was last written for an agent, and when.
type stamp struct {
	sum [sha256.Size]byte
	at  time.Time
}

// Agent is what the objects are about.
type Agent struct {
	ID     string
	Name   string // of the service, that others use
	Object string // name of the other objects
	Main   bool   // its pods have a port named MainPort
	Ports  []int  // that are the same in all of its pods
	// Budget bounds how many of its pods may be taken away at once. Pods of jobs can't
	// be bounded: nobody would be allowed to take any of them away.
	Budget bool
}

// Thing is an object that is there.
type Thing struct {
	Kind, Name, AgentID string
	CreatedAt           time.Time
}

// Keep makes the objects of an agent what they should be.
func (k *Keeper) Keep(ctx context.Context, a Agent) error {
	wanted := []struct {
		of     kind
		name   string
		fields map[string]any
	}{
		{accounts, a.Object, map[string]any{"automountServiceAccountToken": false}},
		{policies, a.Object, map[string]any{"spec": k.policy(a)}},
		{disruption, a.Object, map[string]any{"spec": map[string]any{
			"maxUnavailable": 1, "selector": k.selector(a.ID), "unhealthyPodEvictionPolicy": "AlwaysAllow",
		}}},
		{services, a.Name, map[string]any{"spec": map[string]any{"selector": k.Labels(a.ID), "ports": a.servicePorts()}}},
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	now := stamp{sum: sha256.Sum256(text), at: time.Now()}
	k.mu.Lock()
	was := k.written[a.ID]
	k.mu.Unlock()
	if was.sum == now.sum && now.at.Sub(was.at) < fresh {
		return nil
	}
	for _, w := range wanted {
		if w.of == services && !a.Main && len(a.Ports) == 0 || w.of == disruption && !a.Budget {
			if err := k.drop(ctx, w.of, w.name); err != nil { // of a revision before
				return err
			}
			continue // a service leads to ports
		}
		if _, err := k.apply(ctx, w.of, w.name, k.notes(a.ID), w.fields); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.written == nil {
		k.written = map[string]stamp{}
	}
	k.written[a.ID] = now
	return nil
}

func (k *Keeper) selector(agentID string) map[string]any {
	return map[string]any{"matchLabels": k.Labels(agentID)}
}

// servicePorts are those under which others reach the agent. A name of its own has
// each, for a service with several needs them.
func (a Agent) servicePorts() []map[string]any {
	var list []map[string]any
	for _, n := range a.Ports {
		list = append(list, map[string]any{"name": "port-" + strconv.Itoa(n), "protocol": "TCP", "port": n, "targetPort": n})
	}
	if a.Main && !slices.Contains(a.Ports, WebPort) {
		list = append(list, map[string]any{"name": MainPort, "protocol": "TCP", "port": WebPort, "targetPort": MainPort})
	}
	return list
}

// policy lets the agent's neighbours and the portal reach its ports, and nobody
// anything else of it. A portal outside of the cluster comes from an address that is
// not known here, so that without Ingress everybody reaches the ports then.
func (k *Keeper) policy(a Agent) map[string]any {
	ports := []map[string]any{}
	if a.Main {
		ports = append(ports, map[string]any{"protocol": "TCP", "port": MainPort})
	}
	for _, n := range a.Ports {
		ports = append(ports, map[string]any{"protocol": "TCP", "port": n})
	}
	ingress := []map[string]any{}
	if len(ports) > 0 {
		rule := map[string]any{"ports": ports}
		if k.Portal != "" || len(k.Ingress) > 0 {
			rule["from"] = append(k.neighbours(), blocks(k.Ingress)...)
		}
		ingress = append(ingress, rule)
	}
	spec := map[string]any{"podSelector": k.selector(a.ID), "policyTypes": []string{"Ingress"}, "ingress": ingress}
	if len(k.Egress) > 0 {
		spec["policyTypes"] = []string{"Ingress", "Egress"}
		spec["egress"] = []map[string]any{
			{"to": append(k.neighbours(), blocks(k.Egress)...)},
			{"ports": []map[string]any{{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}}}, // names
		}
	}
	return spec
}

// neighbours are the pods of the agents' namespace and of the portal's.
func (k *Keeper) neighbours() []map[string]any {
	list := []map[string]any{{"podSelector": map[string]any{}}}
	if k.Portal != "" && k.Portal != k.Namespace {
		list = append(list, map[string]any{"namespaceSelector": map[string]any{
			"matchLabels": map[string]string{"kubernetes.io/metadata.name": k.Portal},
		}})
	}
	return list
}

func blocks(networks []string) (list []map[string]any) {
	for _, n := range networks {
		list = append(list, map[string]any{"ipBlock": map[string]any{"cidr": n}})
	}
	return list
}

// notes are the annotations that every object of an agent has.
func (k *Keeper) notes(agentID string) map[string]string { return map[string]string{k.Note: agentID} }

// Configure keeps the open part of an environment, with further annotations, and
// gives the version of what was written.
func (k *Keeper) Configure(ctx context.Context, agentID, name string, data, further map[string]string) (version string, err error) {
	notes := k.notes(agentID)
	maps.Copy(notes, further)
	return k.apply(ctx, settings, name, notes, map[string]any{"data": data})
}

// Unconfigure removes it.
func (k *Keeper) Unconfigure(ctx context.Context, name string) error {
	return k.drop(ctx, settings, name)
}

// List gives the objects that the labels select.
func (k *Keeper) List(ctx context.Context, selector string) ([]Thing, error) {
	var out []Thing
	for _, of := range kinds {
		list, err := k.list(ctx, of, selector)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			out = append(out, Thing{Kind: of.name, Name: o.Name, AgentID: o.Annotations[k.Note], CreatedAt: o.CreationTimestamp.UTC()})
		}
	}
	return out, nil
}

// Remove deletes the objects of an agent that the labels select.
func (k *Keeper) Remove(ctx context.Context, agentID, selector string) error {
	k.mu.Lock()
	delete(k.written, agentID)
	k.mu.Unlock()
	for _, of := range kinds {
		list, err := k.list(ctx, of, selector)
		if err != nil {
			return err
		}
		for _, o := range list {
			if err := k.remove(ctx, of, o.ObjectMeta); err != nil {
				return err
			}
		}
	}
	return nil
}
