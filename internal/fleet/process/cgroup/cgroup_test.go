package cgroup

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// host detects what this machine offers to the test alone.
func host(t *testing.T, version int) *Host {
	t.Helper()
	h := Detect(t.TempDir(), version)
	t.Cleanup(h.Close)
	return h
}

func sleeper(t *testing.T) int {
	t.Helper()
	c := exec.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c.Process.Pid
}

// move puts a running process into all directories of the group.
func move(t *testing.T, g Group, pid int) {
	t.Helper()
	g.Renew(1)
	if err := g.Add(1, pid); err != nil {
		t.Fatal(err)
	}
	for _, dir := range g.V1 {
		if err := write(dir, "cgroup.procs", itoa(pid)); err != nil {
			t.Fatal(err)
		}
	}
}

func itoa(n int) string {
	b := []byte{}
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

func TestEachControllerWorksOrSaysWhyNot(t *testing.T) {
	h := host(t, 0)
	for c := range probes {
		if h.Version(c) == 0 && h.Why[c] == "" {
			t.Errorf("%s does not work, without a reason", c)
		}
	}
	if other := host(t, 0); other.V2 != "" && other.V2 == h.V2 {
		t.Error("two directories share a group")
	}
}

func TestAGroupLivesAndDies(t *testing.T) {
	for _, version := range []int{0, 1, 2} {
		t.Run(itoa(version), func(t *testing.T) { testGroup(t, host(t, version)) })
	}
}

func testGroup(t *testing.T, h *Host) {
	if h.Version(PIDs) == 0 || h.Version(Freezer) == 0 {
		t.Skip("no such control groups here")
	}
	g := h.Group("test-r1-0")
	if err := g.Create(Limits{Memory: 64 << 20, CPU: 0.5, PIDs: 10}); err != nil {
		t.Fatal(err)
	}
	if err := g.Create(Limits{PIDs: 20}); err != nil { // again, with other limits
		t.Fatal(err)
	}
	pid := sleeper(t)
	move(t, g, pid)
	if !slices.Equal(g.Procs(), []int{pid}) || !slices.Equal(h.Names(), []string{"test-r1-0"}) {
		t.Errorf("processes %v in groups %v", g.Procs(), h.Names())
	}
	if n, ok := g.PIDUse(); !ok || n != 1 {
		t.Errorf("%d processes, %v", n, ok)
	}
	if _, ok := g.MemoryUse(); !ok {
		t.Error("memory is not measured")
	}
	if _, ok := g.CPUSeconds(); !ok || g.OOMKills() != 0 {
		t.Error("processor time is not measured")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := g.Freeze(ctx); err != nil {
		t.Error(err)
	}
	short, cancel2 := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel2()
	if err := g.Remove(short); err == nil {
		t.Error("a group in use was removed")
	}
	if err := g.Thaw(); err != nil {
		t.Error(err)
	}
	if err := g.Freeze(ctx); err != nil {
		t.Error(err)
	}
	if !g.Kill(ctx) { // frozen as it is
		t.Error("cannot kill")
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v, %v", status.Signal(), err)
	}
	if err := g.Remove(ctx); err != nil {
		t.Error(err)
	}
	if err := g.Remove(ctx); err != nil { // again
		t.Error(err)
	}
}

func TestTheZeroGroupDoesNothing(t *testing.T) {
	var g Group
	g.Renew(1)
	if g.Create(Limits{Memory: 1, CPU: 1, PIDs: 1}) != nil || g.Enter(1) != nil || g.Leave(1) != nil || g.Add(1, 1) != nil ||
		g.Open(1) != nil || g.Escape() != nil || g.Thaw() != nil || g.Kill(t.Context()) || g.Remove(t.Context()) != nil ||
		g.Has(Memory) || len(g.Procs()) > 0 || g.OOMKills() != 0 {
		t.Error("it did something")
	}
	for _, measure := range []func() bool{
		func() bool { _, ok := g.CPUSeconds(); return ok },
		func() bool { _, ok := g.MemoryUse(); return ok },
		func() bool { _, ok := g.PIDUse(); return ok },
	} {
		if measure() {
			t.Error("it measured something")
		}
	}
}

// version2 makes a directory that looks like a version 2 group with all controllers.
func version2(t *testing.T, files map[string]string) Group {
	t.Helper()
	g := Group{V2: t.TempDir(), V2Has: []string{CPU, Freezer, Kill, Memory, PIDs}}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(g.V2, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// Most machines have version 2 alone; what is written and read there is held
// on files of the same names.
func TestVersion2FilesAreWrittenAndRead(t *testing.T) {
	g := version2(t, map[string]string{
		"memory.max": "", "memory.swap.max": "", "cpu.max": "", "pids.max": "", "cgroup.freeze": "", "cgroup.kill": "",
		"memory.current": "5000\n", "memory.stat": "anon 1\ninactive_file 1000\n", "memory.events": "oom 1\noom_kill 2\n",
		"cpu.stat": "usage_usec 1500000\n", "pids.current": "3\n", "cgroup.events": "populated 1\nfrozen 1\n",
	})
	if err := g.Create(Limits{Memory: 4096, CPU: 1.5, PIDs: 7}); err != nil {
		t.Fatal(err)
	}
	if err := g.Freeze(t.Context()); err != nil || !g.Kill(t.Context()) {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"memory.max": "4096", "memory.swap.max": "0", "cpu.max": "150000 100000", "pids.max": "7", "cgroup.freeze": "1", "cgroup.kill": "1",
	} {
		if got := read(g.V2, file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if m, ok := g.MemoryUse(); m != 4000 || !ok {
		t.Errorf("memory %d", m)
	}
	if c, ok := g.CPUSeconds(); c != 1.5 || !ok {
		t.Errorf("processor %v", c)
	}
	if n, ok := g.PIDUse(); n != 3 || !ok || g.OOMKills() != 2 {
		t.Errorf("%d processes, %d kills", n, g.OOMKills())
	}
}

func TestMountsAndOwnGroupsAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	put := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n" +
		"31 23 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n" +
		"32 23 0:28 / /proc rw - proc proc rw\nnonsense\n")
	mounts := readMounts(file)
	if len(mounts) != 2 || mounts[0].controllers != nil || !slices.Contains(mounts[1].controllers, CPU) {
		t.Fatalf("mounts %+v", mounts)
	}
	put("12:cpu,cpuacct:/docker/abc/portal\n0::/system.slice/portal.service\n")
	own := ownGroups(file)
	if got := mounts[0].below(own[""]); got != "/sys/fs/cgroup/system.slice/portal.service" {
		t.Errorf("own group is %s", got)
	}
	if got := mounts[1].below(own[CPU]); got != "/sys/fs/cgroup/cpu,cpuacct/portal" {
		t.Errorf("own group is %s", got)
	}
	if got := mounts[1].below("/elsewhere"); got != mounts[1].point {
		t.Errorf("a group outside of the mount is %s", got)
	}
	if readMounts("/no/such/file") != nil || len(ownGroups("/no/such/file")) != 0 {
		t.Error("something was read from nothing")
	}
}

func TestRefusalsAreExplained(t *testing.T) {
	h := &Host{Why: map[string]string{}}
	h.refused(os.ErrPermission, Memory)
	h.refused(&os.PathError{Op: "mkdir", Err: syscall.EROFS}, CPU)
	h.refused(errors.New("other"), PIDs)
	for _, c := range []string{Memory, CPU, PIDs} {
		if h.Why[c] == "" {
			t.Errorf("%s: no reason", c)
		}
	}
	if h.Why[CPU] == h.Why[Memory] || h.Why[CPU] == h.Why[PIDs] {
		t.Errorf("reasons %v", h.Why)
	}
}
