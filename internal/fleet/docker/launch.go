package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// defaultPIDs bounds processes and threads where the launch does not.
const defaultPIDs = 512

// Launch implements fleet.Runtime.
func (r *Runtime) Launch(ctx context.Context, l fleet.Launch) error {
	if err := upkeep.CheckIDs(l.AgentID, l.InstanceID); err != nil {
		return err
	}
	release, err := r.locks.Acquire(ctx, l.InstanceID)
	if err != nil {
		return err
	}
	defer release()
	running, err := r.clear(ctx, l)
	if err != nil || running {
		return err
	}
	p, err := r.prepare(ctx, l)
	if err != nil {
		return err
	}
	r.pruneLogs(l.AgentID, l.InstanceID)
	return r.launch(ctx, p)
}

// clear makes the way free for a launch: true if the instance already runs,
// else its container is gone. The lock of the instance is held.
func (r *Runtime) clear(ctx context.Context, l fleet.Launch) (running bool, err error) {
	u, st, err := r.find(ctx, l.AgentID, l.InstanceID)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	u.mu.Lock()
	state := u.rec.State
	u.mu.Unlock()
	switch {
	case st.Status == container.StateCreated || st.Dead || state == fleet.InstanceFailed || state == fleet.InstanceExited:
	case state != fleet.InstanceStopping:
		return true, nil
	default:
		if err := r.halt(ctx, u, 0); err != nil {
			return false, err
		}
	}
	return false, r.discard(ctx, u)
}

// launch makes and starts the container.
func (r *Runtime) launch(ctx context.Context, p *ready) error {
	l := p.launch
	netName, gateway, err := r.network(ctx)
	if err != nil {
		return err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	options, err := r.options(p, netName, gateway)
	if err != nil {
		return err
	}
	made, err := r.api().ContainerCreate(bounded, options)
	if errdefs.IsConflict(err) {
		return fault.New(fault.Conflict, "docker.name_taken", "The name %s is taken on the Docker engine", options.Name).
			Because("%s", brief(err)).Do("Remove or rename the container that has it; it is not this portal's.").Wrap(err)
	}
	if err != nil {
		return r.started(ctx, l, err)
	}
	if _, err = r.api().ContainerStart(bounded, made.ID, client.ContainerStartOptions{}); err != nil {
		if bounded.Err() != nil || client.IsErrConnectionFailed(err) { // it may run all the same: the next launch or stop finds it
			return r.started(ctx, l, err)
		}
		late, cancel := r.bounded(context.WithoutCancel(ctx))
		defer cancel()
		_, _ = r.api().ContainerRemove(late, made.ID, client.ContainerRemoveOptions{Force: true})
		return r.started(ctx, l, err)
	}
	u := r.adopt(made.ID, options.Config.Labels)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.looked = true // nothing was missed
	u.save()
	r.changes.Add(l.AgentID)
	return nil
}

// options say how the container is to be. It gets no more than a program that
// serves on a port needs; nothing of the host is given to it.
func (r *Runtime) options(p *ready, netName string, gateway netip.Addr) (client.ContainerCreateOptions, error) {
	l := p.launch
	policy, err := json.Marshal(l.Restart)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	c := &container.Config{
		Image: p.image.id, User: p.user, Env: r.environ(l), Cmd: l.Args, ExposedPorts: network.PortSet{},
		Labels: map[string]string{
			labelOwner: r.cfg.Owner, labelRole: roleInstance, labelAgent: l.AgentID, labelInstance: l.InstanceID,
			labelRevision: itoa(l.Revision), labelIndex: itoa(l.Index), labelPort: itoa(l.Port),
			labelRestart: string(policy), labelMemory: l.Resources.Memory.String(),
		},
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}, // probes are the portal's
	}
	if l.Command != "" {
		c.Entrypoint = []string{l.Command}
	}
	pids := int64(cmp.Or(l.Resources.PIDs, defaultPIDs))
	h := &container.HostConfig{
		Mounts: p.mounts, NetworkMode: container.NetworkMode(netName), PortBindings: network.PortMap{},
		RestartPolicy:  byEngine(l.Restart),
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		ReadonlyRootfs: !r.cfg.Policy.Writable,
		Tmpfs:          map[string]string{"/tmp": scratch(p.user)},
		IpcMode:        container.IPCModePrivate, // the default of old engines may be shareable
		LogConfig:      container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "16m", "max-file": "2"}},
		Resources: container.Resources{
			Memory: int64(l.Resources.Memory), MemorySwap: int64(l.Resources.Memory), // none beside it
			NanoCPUs: int64(l.Resources.CPU * 1e9), PidsLimit: &pids,
		},
	}
	if n := int64(l.Resources.OpenFiles); n > 0 {
		h.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: n, Hard: n}}
	}
	if gateway.IsValid() {
		h.ExtraHosts = []string{PortalHost + ":" + gateway.String()}
	}
	for _, n := range append(ports(l), l.Port) {
		if port, ok := network.PortFrom(uint16(n), network.TCP); ok && n > 0 {
			c.ExposedPorts[port] = struct{}{}
			h.PortBindings[port] = []network.PortBinding{{HostIP: r.cfg.Address, HostPort: itoa(n)}}
		}
	}
	return client.ContainerCreateOptions{Name: r.name(l.InstanceID), Config: c, HostConfig: h}, nil
}

// scratch says how /tmp is mounted. It belongs to the user: the mode alone is not
// enough, as engines give it that of the directory that the image has there.
func scratch(user string) string {
	uid, gid, _ := strings.Cut(user, ":")
	return "rw,nosuid,nodev,noexec,size=64m,mode=1777,uid=" + uid + ",gid=" + gid
}

// ports are the fixed ones.
func ports(l fleet.Launch) []int {
	var list []int
	for _, p := range l.Ports {
		list = append(list, p.Port)
	}
	return list
}

// environ completes the launch's environment. What the portal serves on
// loopback has another name inside.
func (r *Runtime) environ(l fleet.Launch) []string {
	env := maps.Clone(l.Env)
	if env == nil {
		env = map[string]string{}
	}
	for _, name := range []string{"PORTAL_URL", "QUEUE_URL"} {
		if v, ok := env[name]; ok {
			env[name] = upkeep.Outside(v, cmp.Or(r.cfg.PortalHost, PortalHost))
		}
	}
	env["AGENT_INSTANCE"] = l.InstanceID
	env["AGENT_DATA_DIR"] = DataDir
	env["AGENT_HOST"] = "0.0.0.0" // what is published must not listen on loopback
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// network gives the network of this portal's instances, which it makes if need
// be, and the address of the engine's machine in it.
func (r *Runtime) network(ctx context.Context) (name string, gateway netip.Addr, err error) {
	release, err := r.locks.Acquire(ctx, "\x00network")
	if err != nil {
		return "", gateway, err
	}
	defer release()
	name = r.name("network")
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().NetworkInspect(bounded, name, client.NetworkInspectOptions{})
	if errdefs.IsNotFound(err) {
		_, err = r.api().NetworkCreate(bounded, name, client.NetworkCreateOptions{
			Driver: "bridge", Labels: map[string]string{labelOwner: r.cfg.Owner},
		})
		if err == nil || errdefs.IsConflict(err) {
			got, err = r.api().NetworkInspect(bounded, name, client.NetworkInspectOptions{})
		}
	}
	if err != nil {
		return "", gateway, r.answered(ctx, "make the network "+name, err)
	}
	if got.Network.Labels[labelOwner] != r.cfg.Owner {
		return "", gateway, fault.New(fault.Conflict, "docker.name_taken", "The network %s belongs to somebody else", name).
			Because("it does not have this portal's labels").Do("Remove or rename it on the engine.")
	}
	for _, c := range got.Network.IPAM.Config {
		if c.Gateway.IsValid() && c.Gateway.Is4() {
			gateway = c.Gateway
		}
	}
	return name, gateway, nil
}

// dropNetwork removes the network if nothing is in it.
func (r *Runtime) dropNetwork(ctx context.Context) {
	release, err := r.locks.Acquire(ctx, "\x00network")
	if err != nil {
		return
	}
	defer release()
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	left, err := r.api().ContainerList(bounded, client.ContainerListOptions{All: true, Filters: r.mine("")})
	if err != nil || len(left.Items) > 0 {
		return
	}
	got, err := r.api().NetworkInspect(bounded, r.name("network"), client.NetworkInspectOptions{})
	if err != nil || got.Network.Labels[labelOwner] != r.cfg.Owner {
		return
	}
	if _, err := r.api().NetworkRemove(bounded, got.Network.ID, client.NetworkRemoveOptions{}); err != nil && !strings.Contains(err.Error(), "active endpoints") {
		r.cfg.Log.Warn("the network of the instances could not be removed", "error", err)
	}
}
