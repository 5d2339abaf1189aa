package cgroup

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Group is the control group of one instance: a directory in each hierarchy
// that is used. The zero Group does nothing.
type Group struct {
	V2    string            `json:"v2,omitempty"`
	V2Has []string          `json:"v2_has,omitempty"`
	V1    map[string]string `json:"v1,omitempty"` // controller to directory
}

// Limits are what a group enforces; zero means no limit.
type Limits struct {
	Memory int64 // bytes
	CPU    float64
	PIDs   int
}

// Group names the group of an instance; it makes nothing.
func (h *Host) Group(instanceID string) Group {
	g := Group{V2Has: h.V2Has, V1: map[string]string{}}
	if h.V2 != "" {
		g.V2 = filepath.Join(h.V2, instanceID)
	}
	for c, dir := range h.V1 {
		g.V1[c] = filepath.Join(dir, instanceID)
	}
	return g
}

// Names gives the instances that have a group on this host.
func (h *Host) Names() []string {
	var names []string
	for _, base := range append(slices.Collect(maps.Values(h.V1)), h.V2) {
		if base == "" {
			continue
		}
		entries, _ := os.ReadDir(base)
		for _, e := range entries {
			if e.IsDir() && e.Name() != supervisors && !strings.HasPrefix(e.Name(), "probe-") {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Close removes the host's own groups if no instance has one left. It waits a
// moment for the kernel to see that the last shim is gone.
func (h *Host) Close() {
	if len(h.Names()) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = poll(ctx, func() bool {
		gone := true
		for _, base := range append(slices.Collect(maps.Values(h.V1)), h.V2) {
			if base != "" {
				_ = os.Remove(filepath.Join(base, supervisors))
				err := os.Remove(base)
				gone = gone && (err == nil || errors.Is(err, fs.ErrNotExist))
			}
		}
		return gone
	})
}

// supervisors is the group of the shims, which have no limits.
const supervisors = ".supervisors"

// Escape moves the caller out of the group in which the portal runs, so that a
// service manager that ends the portal's group leaves it alone.
func (g Group) Escape() error {
	if g.V2 == "" {
		return nil
	}
	dir := filepath.Join(filepath.Dir(g.V2), supervisors)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return write(dir, "cgroup.procs", strconv.Itoa(os.Getpid()))
}

func (g Group) dirs() []string {
	list := slices.Collect(maps.Values(g.V1))
	if g.V2 != "" {
		list = append(list, g.V2)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Has tells whether the group offers c.
func (g Group) Has(c string) bool {
	return g.V2 != "" && slices.Contains(g.V2Has, c) || g.V1[c] != ""
}

// Create makes the group and sets its limits. It does what it can and gives
// what it could not.
func (g Group) Create(l Limits) error {
	var errs []error
	for _, dir := range g.dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			errs = append(errs, err)
		}
	}
	set := func(limited bool, c string, v1, v2 [2]string) {
		switch {
		case !limited:
		case slices.Contains(g.V2Has, c):
			errs = append(errs, write(g.V2, v2[0], v2[1]))
		case g.V1[c] != "":
			errs = append(errs, write(g.V1[c], v1[0], v1[1]))
		}
	}
	mem, pids := strconv.FormatInt(l.Memory, 10), strconv.Itoa(l.PIDs)
	quota := strconv.FormatInt(max(int64(l.CPU*100000), 1000), 10)
	set(l.Memory > 0, Memory, [2]string{"memory.limit_in_bytes", mem}, [2]string{"memory.max", mem})
	set(l.CPU > 0, CPU, [2]string{"cpu.cfs_quota_us", quota}, [2]string{"cpu.max", quota + " 100000"})
	set(l.PIDs > 0, PIDs, [2]string{"pids.max", pids}, [2]string{"pids.max", pids})
	if l.Memory > 0 { // no escape into swap, where the kernel counts it
		if slices.Contains(g.V2Has, Memory) {
			_ = write(g.V2, "memory.swap.max", "0")
		} else if g.V1[Memory] != "" {
			_ = write(g.V1[Memory], "memory.memsw.limit_in_bytes", mem)
		}
	}
	return errors.Join(errs...)
}

// Enter moves one thread of the caller into the version 1 groups, so that the
// process that the thread makes next is born there; Leave takes it out again.
func (g Group) Enter(tid int) error { return g.tasks(tid, func(dir string) string { return dir }) }

// Leave moves the thread to the groups above, which have no limits.
func (g Group) Leave(tid int) error { return g.tasks(tid, filepath.Dir) }

func (g Group) tasks(tid int, at func(string) string) error {
	var errs []error
	for _, dir := range slices.Compact(slices.Sorted(maps.Values(g.V1))) {
		errs = append(errs, write(at(dir), "tasks", strconv.Itoa(tid)))
	}
	return errors.Join(errs...)
}

// Renew makes a fresh version 2 group below, for the next run, and removes that
// of the run before. Some kernels kill at birth whatever is born into a group
// that was killed once, so no group is used for two runs.
func (g Group) Renew(run int) {
	if g.V2 == "" {
		return
	}
	g.removeRuns()
	_ = os.Mkdir(g.run(run), 0o755)
}

func (g Group) run(run int) string { return filepath.Join(g.V2, "run-"+strconv.Itoa(run)) }

func (g Group) runs() []string {
	if g.V2 == "" {
		return nil
	}
	list, _ := filepath.Glob(filepath.Join(g.V2, "run-*"))
	return list
}

func (g Group) removeRuns() {
	for _, dir := range g.runs() {
		_ = os.Remove(dir)
	}
}

// Open gives a descriptor of the run's group, into which a process can be born;
// nil if there is none.
func (g Group) Open(run int) *os.File {
	if g.V2 == "" {
		return nil
	}
	f, err := os.Open(g.run(run))
	if err != nil {
		return nil
	}
	return f
}

// Add moves a running process into the run's group.
func (g Group) Add(run, pid int) error {
	if g.V2 == "" {
		return nil
	}
	return write(g.run(run), "cgroup.procs", strconv.Itoa(pid))
}

// Procs gives the processes in the group, but not the caller.
func (g Group) Procs() []int {
	var list []int
	for _, dir := range append(g.dirs(), g.runs()...) {
		b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 1 && pid != os.Getpid() {
				list = append(list, pid)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Freeze stops every process of the group at once; it returns when all are
// still. Thaw lets them go on.
func (g Group) Freeze(ctx context.Context) error {
	if slices.Contains(g.V2Has, Freezer) {
		if err := write(g.V2, "cgroup.freeze", "1"); err != nil {
			return err
		}
		return poll(ctx, func() bool { return strings.Contains(read(g.V2, "cgroup.events"), "frozen 1") })
	}
	return poll(ctx, func() bool {
		// Written again each time: a process that was just made may have to be caught.
		_ = write(g.V1[Freezer], "freezer.state", "FROZEN")
		return strings.TrimSpace(read(g.V1[Freezer], "freezer.state")) == "FROZEN"
	})
}

// Thaw undoes Freeze.
func (g Group) Thaw() error {
	if slices.Contains(g.V2Has, Freezer) {
		return write(g.V2, "cgroup.freeze", "0")
	}
	if g.V1[Freezer] != "" {
		return write(g.V1[Freezer], "freezer.state", "THAWED")
	}
	return nil
}

// Kill ends every process of the group with SIGKILL, forking or frozen as it
// may be. It tells whether the group can do that.
func (g Group) Kill(ctx context.Context) bool {
	if slices.Contains(g.V2Has, Kill) && write(g.V2, "cgroup.kill", "1") == nil {
		if g.V1[Freezer] != "" {
			_ = write(g.V1[Freezer], "freezer.state", "THAWED") // else they cannot die
		}
		return true
	}
	if g.V1[Freezer] == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = g.Freeze(ctx) // so that none forks away meanwhile
	for _, pid := range g.Procs() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return g.Thaw() == nil
}

// Remove deletes the group, which must be empty, trying until ctx ends: the
// kernel needs a moment after the last process.
func (g Group) Remove(ctx context.Context) error {
	var left error
	_ = poll(ctx, func() bool {
		left = nil
		g.removeRuns()
		for _, dir := range g.dirs() {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				left = err
			}
		}
		return left == nil
	})
	return left
}

func poll(ctx context.Context, done func() bool) error {
	step := time.Millisecond
	for !done() {
		t := time.NewTimer(step)
		select {
		case <-t.C:
			step = min(2*step, 20*time.Millisecond)
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	return nil
}

func read(dir, file string) string {
	b, _ := os.ReadFile(filepath.Join(dir, file))
	return string(b)
}
