// Package metering reads what pods of a cluster use: from the cluster's metrics where
// there are some, else from the kubelets.
package metering

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	kerrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/rest"
)

const (
	// fresh is for how long what a kubelet said of its node is used again.
	fresh = 5 * time.Second
	// largest bounds what a kubelet may say.
	largest = 32 << 20
	// kept is for how long a pod is remembered that nobody asks for.
	kept = time.Hour
)

// Pod is a pod to be measured.
type Pod struct {
	Namespace, Name, UID, Node, Container string
}

// Use is what a pod uses.
type Use struct {
	CPUSeconds float64 // since its program began, or since it was first asked for
	Memory     int64   // bytes
	Processes  int     // 0 where that is not told
	Disk       int64   // bytes of its volumes; 0 where that is not told
}

// ErrNothing means that nothing was measured yet.
var ErrNothing = errors.New("the cluster has not measured it yet")

// Meter measures pods. The zero value but for Client is ready.
type Meter struct {
	Client rest.Interface

	mu      sync.Mutex
	nodes   map[string]*node
	sampled map[string]*sample // by unique id of pod
}

// node is what a kubelet last said.
type node struct {
	mu   sync.Mutex
	at   time.Time
	pods map[string]Use // by unique id
}

// sample adds up what the cluster's metrics say, which is how much at a time.
type sample struct {
	at      time.Time
	seconds float64
}

// Use measures a pod. The cluster's metrics need less of a right, so they are asked
// first. The error of the kubelet counts if both refuse.
func (m *Meter) Use(ctx context.Context, p Pod) (Use, error) {
	u, err := m.metrics(ctx, p)
	switch {
	case kerrors.IsNotFound(err) && strings.Contains(err.Error(), p.Name):
		return u, ErrNothing
	case err == nil || !absent(err):
		return u, err
	}
	return m.summary(ctx, p)
}

// absent tells whether the cluster has no metrics, or not for this portal.
func absent(err error) bool {
	return kerrors.IsForbidden(err) || kerrors.IsNotFound(err) || kerrors.IsServiceUnavailable(err)
}

// metrics asks metrics.k8s.io.
func (m *Meter) metrics(ctx context.Context, p Pod) (Use, error) {
	body, err := m.get(ctx, "/apis/metrics.k8s.io/v1beta1/namespaces/"+p.Namespace+"/pods/"+p.Name)
	if err != nil {
		return Use{}, err
	}
	var said struct {
		Timestamp  time.Time `json:"timestamp"`
		Containers []struct {
			Name  string                       `json:"name"`
			Usage map[string]resource.Quantity `json:"usage"`
		} `json:"containers"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return Use{}, err
	}
	for _, c := range said.Containers {
		if c.Name != p.Container {
			continue
		}
		cpu, memory := c.Usage["cpu"], c.Usage["memory"]
		return Use{CPUSeconds: m.add(p.UID, said.Timestamp, cpu.AsApproximateFloat64()), Memory: memory.Value()}, nil
	}
	return Use{}, ErrNothing
}

// add makes processor time of how much of it was used at a time.
func (m *Meter) add(uid string, at time.Time, cores float64) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sampled == nil {
		m.sampled = map[string]*sample{}
	}
	for other, s := range m.sampled {
		if at.Sub(s.at) > kept {
			delete(m.sampled, other)
		}
	}
	s := m.sampled[uid]
	if s == nil {
		s = &sample{at: at}
		m.sampled[uid] = s
	}
	if passed := at.Sub(s.at).Seconds(); passed > 0 {
		s.seconds += passed * cores
		s.at = at
	}
	return s.seconds
}

// summary asks the kubelet of the pod's node, through the API server.
func (m *Meter) summary(ctx context.Context, p Pod) (Use, error) {
	m.mu.Lock()
	if m.nodes == nil {
		m.nodes = map[string]*node{}
	}
	for name, other := range m.nodes { // clusters get and lose nodes
		if name == p.Node || !other.mu.TryLock() {
			continue
		}
		if time.Since(other.at) > kept {
			delete(m.nodes, name)
		}
		other.mu.Unlock()
	}
	n := m.nodes[p.Node]
	if n == nil {
		n = &node{}
		m.nodes[p.Node] = n
	}
	m.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.at) > fresh {
		pods, err := m.ask(ctx, p)
		if err != nil {
			return Use{}, err
		}
		n.at, n.pods = time.Now(), pods
	}
	u, ok := n.pods[p.UID]
	if !ok {
		return Use{}, ErrNothing
	}
	return u, nil
}

// stats is the part of a kubelet's summary that is read.
type stats struct {
	Pods []struct {
		Ref struct {
			Namespace string `json:"namespace"`
			UID       string `json:"uid"`
		} `json:"podRef"`
		Containers []struct {
			Name string `json:"name"`
			CPU  struct {
				Used *int64 `json:"usageCoreNanoSeconds"`
			} `json:"cpu"`
			Memory struct {
				WorkingSet *int64 `json:"workingSetBytes"`
			} `json:"memory"`
		} `json:"containers"`
		Processes struct {
			Count int `json:"process_count"`
		} `json:"process_stats"`
		Volumes []struct {
			Used int64 `json:"usedBytes"`
		} `json:"volume"`
	} `json:"pods"`
}

// ask reads the summary of a node, and keeps what it says of pods of the namespace.
func (m *Meter) ask(ctx context.Context, p Pod) (map[string]Use, error) {
	body, err := m.get(ctx, "/api/v1/nodes/"+p.Node+"/proxy/stats/summary")
	if err != nil {
		return nil, err
	}
	var said stats
	if err := json.Unmarshal(body, &said); err != nil {
		return nil, err
	}
	pods := map[string]Use{}
	for _, one := range said.Pods {
		if one.Ref.Namespace != p.Namespace {
			continue
		}
		u := Use{Processes: one.Processes.Count}
		for _, v := range one.Volumes {
			u.Disk += v.Used
		}
		for _, c := range one.Containers {
			if c.Name == p.Container && c.CPU.Used != nil && c.Memory.WorkingSet != nil {
				u.CPUSeconds, u.Memory = float64(*c.CPU.Used)/1e9, *c.Memory.WorkingSet
				pods[one.Ref.UID] = u
			}
		}
	}
	return pods, nil
}

// get reads an answer that is not too large.
func (m *Meter) get(ctx context.Context, path string) ([]byte, error) {
	body, err := m.Client.Get().AbsPath(path).SetHeader("Accept", "application/json").Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, largest+1))
	if err == nil && len(b) > largest {
		err = errors.New("the answer is too large")
	}
	return b, err
}

// Way says how pods of the namespace are measured; an error says what refuses.
func (m *Meter) Way(ctx context.Context, namespace string) (string, error) {
	_, err := m.Client.Get().AbsPath("/apis/metrics.k8s.io/v1beta1/namespaces/"+namespace+"/pods").
		Param("limit", "1").SetHeader("Accept", "application/json").DoRaw(ctx)
	if err == nil {
		return "the cluster's metrics", nil
	}
	if !absent(err) {
		return "", err
	}
	question, merr := json.Marshal(map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]string{"verb": "get", "resource": "nodes", "subresource": "proxy"}},
	})
	if merr != nil {
		return "", merr
	}
	body, rerr := m.Client.Post().AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").
		SetHeader("Accept", "application/json").SetHeader("Content-Type", "application/json").Body(question).DoRaw(ctx)
	if rerr != nil {
		return "", rerr
	}
	var said struct {
		Status struct {
			Allowed bool `json:"allowed"`
		} `json:"status"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return "", err
	}
	if said.Status.Allowed {
		return "the kubelets", nil
	}
	return "", err
}
