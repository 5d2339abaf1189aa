package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

// simulation stands for the kubelets of many nodes: it says of every pod that the
// scheduler gave to them that it runs and is ready, and serves an output that never
// comes. Everything else is the cluster's own.
type simulation struct {
	proxy   *exec.Cmd // kubectl, which knows how to speak to the API server
	base    string
	kubelet *httptest.Server
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.Mutex
	restarts map[string]int // by pod
	failed   error
}

const (
	simulatedNodes = 10
	podsPerNode    = 120
	merge          = "application/strategic-merge-patch+json"
)

// simulate adds nodes to the cluster, and keeps pods from the real one.
func (c *cluster) simulate(ctx context.Context) (*simulation, error) {
	listener, err := net.Listen("tcp", ":0") // the API server comes from an address of the cluster
	if err != nil {
		return nil, err
	}
	s := &simulation{restarts: map[string]int{}}
	s.kubelet = httptest.NewUnstartedServer(http.HandlerFunc(silent))
	_ = s.kubelet.Listener.Close()
	s.kubelet.Listener = listener
	s.kubelet.StartTLS()
	_, errCordon := c.kubectl(ctx, "cordon", "node")
	// The cluster's volumes are directories of its real node.
	_, errClass := c.kubectl(ctx, "annotate", "storageclass", "local", "storageclass.kubernetes.io/is-default-class-")
	address, err := c.kubectl(ctx, "get", "node", "node", "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
	if err = errors.Join(err, errCordon, errClass, s.connect(c)); err != nil {
		return nil, err
	}
	// Each agent has a service, and the cluster has addresses for 254.
	err = s.call(ctx, http.MethodPost, "/apis/networking.k8s.io/v1/servicecidrs", "application/json",
		object{"metadata": object{"name": "more"}, "spec": object{"cidrs": []string{"172.27.0.0/16"}}}, nil)
	if err != nil {
		return nil, err
	}
	ctx, s.stop = context.WithCancel(ctx)
	for i := range simulatedNodes {
		if err := s.node(ctx, fmt.Sprint("simulated-", i), address[0], listener.Addr().(*net.TCPAddr).Port); err != nil {
			return nil, err
		}
	}
	s.wg.Go(func() { s.follow(ctx) })
	return s, nil
}

// connect starts kubectl as a proxy to the API server.
func (s *simulation) connect(c *cluster) error {
	s.proxy = exec.Command(filepath.Join(c.root, "bin", "kubectl"), "--kubeconfig", c.kubeconfig, "proxy", "--port=0")
	out, err := s.proxy.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.proxy.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n') // Starting to serve on ADDRESS
	s.base = "http://" + strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:])
	return err
}

// silent is the output of a container that prints nothing.
func silent(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/stats/") {
		http.Error(w, "nothing is measured", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	if r.URL.Query().Get("follow") == "true" {
		<-r.Context().Done()
	}
}

func (s *simulation) end() error {
	s.stop()
	s.wg.Wait()
	s.kubelet.CloseClientConnections()
	s.kubelet.Close()
	_ = s.proxy.Process.Kill()
	_ = s.proxy.Wait() // it was killed
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// call speaks to the API server.
func (s *simulation) call(ctx context.Context, method, path, kind string, body, out any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusConflict {
		return nil // it is gone, or somebody was first
	}
	if resp.StatusCode > 299 {
		told, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, told)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

type object = map[string]any

// node adds one, and keeps it ready.
func (s *simulation) node(ctx context.Context, name, address string, port int) error {
	err := s.call(ctx, http.MethodPost, "/api/v1/nodes", "application/json",
		object{"metadata": object{"name": name, "labels": object{"kubernetes.io/hostname": name}}}, nil)
	if err != nil {
		return err
	}
	room := object{"cpu": "64", "memory": "256Gi", "pods": fmt.Sprint(podsPerNode), "ephemeral-storage": "1Ti"}
	beat := func() error {
		now := time.Now().UTC().Format(time.RFC3339)
		return s.call(ctx, http.MethodPatch, "/api/v1/nodes/"+name+"/status", merge, object{"status": object{
			"capacity": room, "allocatable": room,
			"addresses":       []object{{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}},
			"daemonEndpoints": object{"kubeletEndpoint": object{"Port": port}},
			"conditions":      []object{{"type": "Ready", "status": "True", "reason": "Simulated", "lastHeartbeatTime": now, "lastTransitionTime": now}},
		}}, nil)
	}
	if err := beat(); err != nil {
		return err
	}
	s.wg.Go(func() {
		for tick := time.NewTicker(10 * time.Second); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				s.note(ctx, beat())
			}
		}
	})
	return nil
}

func (s *simulation) note(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && ctx.Err() == nil && s.failed == nil {
		s.failed = err
	}
}

// pod is what the simulation has to know of one.
type pod struct {
	Metadata struct {
		Name, Namespace, ResourceVersion, DeletionTimestamp string
	}
	Spec struct {
		NodeName   string
		Containers []struct{ Name, Image string }
	}
	Status struct{ Phase string }
}

// follow does for every pod what its kubelet would.
func (s *simulation) follow(ctx context.Context) {
	for ctx.Err() == nil {
		s.note(ctx, s.watch(ctx))
	}
}

func (s *simulation) watch(ctx context.Context) error {
	const path = "/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for in := json.NewDecoder(resp.Body); ; {
		var e struct {
			Type   string
			Object pod
		}
		if err := in.Decode(&e); err != nil {
			return nil // a watch ends from time to time
		}
		p := &e.Object
		if e.Type != "ADDED" && e.Type != "MODIFIED" || !strings.HasPrefix(p.Spec.NodeName, "simulated-") {
			continue
		}
		switch path := "/api/v1/namespaces/" + p.Metadata.Namespace + "/pods/" + p.Metadata.Name; {
		case p.Metadata.DeletionTimestamp != "":
			err = s.call(ctx, http.MethodDelete, path, "application/json", object{"gracePeriodSeconds": 0}, nil)
		case p.Status.Phase == "Pending":
			err = s.call(ctx, http.MethodPatch, path+"/status", merge, s.running(p, 0), nil)
		default:
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

// running is the status of a pod that runs after so many restarts.
func (s *simulation) running(p *pod, restarts int) object {
	now := time.Now().UTC().Format(time.RFC3339)
	var conditions, containers []object
	for _, kind := range []string{"Initialized", "ContainersReady", "Ready", "PodScheduled", "PodReadyToStartContainers"} {
		conditions = append(conditions, object{"type": kind, "status": "True", "lastTransitionTime": now})
	}
	for _, c := range p.Spec.Containers {
		status := object{
			"name": c.Name, "image": c.Image, "imageID": c.Image, "ready": true, "started": true, "restartCount": restarts,
			"containerID": "containerd://" + p.Metadata.Name, "state": object{"running": object{"startedAt": now}},
		}
		if restarts > 0 {
			status["lastState"] = object{"terminated": object{"exitCode": 1, "reason": "Error", "startedAt": now, "finishedAt": now}}
		}
		containers = append(containers, status)
	}
	return object{"status": object{"phase": "Running", "startTime": now, "hostIP": "127.0.0.1", "podIP": "192.0.2.1", "podIPs": []object{{"ip": "192.0.2.1"}},
		"conditions": conditions, "containerStatuses": containers}}
}

// restart says of the one pod of an agent that its container was started again.
func (s *simulation) restart(ctx context.Context, agent string) error {
	var list struct{ Items []pod }
	where := "/api/v1/pods?labelSelector=" + url.QueryEscape("platform-portal.io/agent="+agent)
	if err := s.call(ctx, http.MethodGet, where, "application/json", nil, &list); err != nil {
		return err
	}
	if len(list.Items) != 1 {
		return fmt.Errorf("%s has %d pods", agent, len(list.Items))
	}
	p := &list.Items[0]
	s.restarts[p.Metadata.Name]++
	return s.call(ctx, http.MethodPatch, "/api/v1/namespaces/"+p.Metadata.Namespace+"/pods/"+p.Metadata.Name+"/status", merge,
		s.running(p, s.restarts[p.Metadata.Name]), nil)
}

// measureKubernetesScale measures many agents of a real API server, scheduler and
// controllers, whose pods are simulated.
func measureKubernetesScale(ctx context.Context, b *bench) (err error) {
	c, err := b.kubernetes(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	s, err := c.simulate(ctx)
	if err != nil {
		return err
	}
	defer func() { b.clear(); err = errors.Join(err, s.end()) }()
	p, err := b.portal("kubernetes-scale", c.args()...)
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	var docs []map[string]any
	for i := range b.agents {
		docs = append(docs, map[string]any{"name": fmt.Sprintf("pod-%04d", i), "runtime": "kubernetes", "image": "registry.example/none:1", "command": "/none", "probes": map[string]any{}})
	}
	if err := p.Call(ctx, "POST", "/agents/import", docs, nil); err != nil {
		return err
	}
	all := map[string]any{"actions": []string{"provision", "deploy", "start"}, "filter": map[string]any{}, "max_parallel": 50}
	took, err := timed(func() error {
		bulk, err := p.RunBulk(ctx, all)
		if err == nil && bulk.State != "SUCCEEDED" {
			err = failures(bulk)
		}
		return err
	})
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("kubernetes: %d agents to RUNNING in one bulk call, pods simulated", b.agents), "", "%s", round(took))
	if err := b.updates(ctx, p, s); err != nil {
		return err
	}
	percent, mb, err := resting(ctx, p)
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("kubernetes: the portal at rest with %d agents", b.agents), "< 600 MB", "%.0f MB, %.1f %% of one core", mb, percent)
	return p.Stop()
}

// updates measures how long after the API server took a change of a pod in a page
// has it.
func (b *bench) updates(ctx context.Context, p *drive.Portal, s *simulation) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var made struct{ Secret string }
	if err := p.Call(ctx, "POST", "/tokens", map[string]any{"name": "page", "role": "viewer"}, &made); err != nil {
		return err
	}
	page, err := dialSocket(ctx, strings.TrimPrefix(p.URL, "http://"), "/api/platform/live?rooms=agents", made.Secret, net.IPv4(127, 0, 0, 1))
	if err != nil {
		return err
	}
	defer page.Close()
	defer context.AfterFunc(ctx, func() { _ = page.Close() })()
	var ids, rooms []string
	for i := range 30 {
		ids = append(ids, fmt.Sprintf("pod-%04d", i*b.agents/30))
		rooms = append(rooms, "view:detail:"+ids[i])
	}
	order, err := json.Marshal(object{"subscribe": rooms})
	if err == nil {
		err = page.send(opText, order)
	}
	row := func(id string) []byte { return []byte(`"detail:` + id + `":{`) }
	if err == nil {
		err = page.until(row(ids[len(ids)-1])) // rows come in their order
	}
	if err != nil {
		return err
	}
	var times spread
	for _, id := range ids {
		if err := s.restart(ctx, id); err != nil {
			return err
		}
		d, err := timed(func() error { return page.until(row(id), []byte(`"restarts":`)) })
		if err != nil {
			return err
		}
		times = append(times, d)
	}
	b.row(fmt.Sprintf("kubernetes: a container's restart until it is on a page, %d agents", b.agents), "< 1 s", "%s", times)
	return nil
}

// until reads on to a message that has all the parts.
func (s *socket) until(parts ...[]byte) error {
	for {
		data, err := s.next()
		if err != nil {
			return err
		}
		found := true
		for _, part := range parts {
			found = found && bytes.Contains(data, part)
		}
		if found {
			return nil
		}
	}
}
