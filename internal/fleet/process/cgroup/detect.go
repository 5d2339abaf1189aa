// Package cgroup limits, freezes, measures and kills groups of processes by
// Linux control groups: version 2, version 1, or both beside each other, as
// found at run time and as far as the portal may use them.
package cgroup

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The controllers that are of use here. Freezer and Kill are abilities of the
// version 2 core, controllers of their own in version 1.
const (
	Memory  = "memory"
	CPU     = "cpu"
	PIDs    = "pids"
	Account = "cpuacct"
	Freezer = "freezer"
	Kill    = "kill"
)

// probes name a file that proves that a controller works in a group.
var probes = map[string][2]string{ // version 1, version 2
	Memory:  {"memory.limit_in_bytes", "memory.max"},
	CPU:     {"cpu.cfs_quota_us", "cpu.max"},
	PIDs:    {"pids.max", "pids.max"},
	Account: {"cpuacct.usage", "cpu.stat"},
	Freezer: {"freezer.state", "cgroup.freeze"},
	Kill:    {"", "cgroup.kill"},
}

// Host is what control groups offer to one data directory on this machine.
type Host struct {
	V2    string            // the group under which instances get theirs; "" if none
	V2Has []string          // what works there
	V1    map[string]string // controller to the group under which instances get theirs
	Why   map[string]string // controller to the reason why it does not work
}

// mount is one mounted hierarchy.
type mount struct {
	point, root string
	controllers []string // nil for version 2
}

// Detect finds what works, by making a group named after the data directory in
// each hierarchy. Two directories never share a group. If version is not 0,
// only hierarchies of that version are used.
func Detect(dataDir string, version int) *Host {
	name := Name(dataDir)
	h := &Host{V1: map[string]string{}, Why: map[string]string{}}
	mounts := readMounts("/proc/self/mountinfo")
	own := ownGroups("/proc/self/cgroup")
	for _, m := range mounts {
		if m.controllers == nil && version != 1 {
			h.tryV2(m, own[""], name)
		}
	}
	for _, m := range mounts {
		for _, c := range m.controllers {
			if _, known := probes[c]; known && c != Kill && version != 2 && !slices.Contains(h.V2Has, c) {
				h.tryV1(m, own[c], name, c)
			}
		}
	}
	for c := range probes {
		if h.Version(c) == 0 && h.Why[c] == "" {
			h.Why[c] = "no control group hierarchy with " + c + " is mounted"
		}
	}
	return h
}

// Name is what the groups of a data directory are called in each hierarchy.
func Name(dataDir string) string {
	sum := sha256.Sum256([]byte(dataDir))
	return "portal-" + hex.EncodeToString(sum[:6])
}

// Version gives the control group version that offers c, or 0.
func (h *Host) Version(c string) int {
	switch {
	case slices.Contains(h.V2Has, c):
		return 2
	case h.V1[c] != "":
		return 1
	}
	return 0
}

// tryV2 uses a version 2 hierarchy: at its root where the portal may, so that
// the end of the portal's own group touches no instance; else in its own group.
func (h *Host) tryV2(m mount, own, name string) {
	for _, base := range []string{m.point, m.below(own)} {
		dir := filepath.Join(base, name)
		if err := makeV2(base, dir); err != nil {
			h.refused(err, Memory, CPU, PIDs, Freezer, Kill)
			continue
		}
		has := probe(dir, 1)
		if len(has) > len(h.V2Has) {
			if h.V2 != "" {
				_ = os.Remove(h.V2)
			}
			h.V2, h.V2Has = dir, has
		} else if dir != h.V2 {
			_ = os.Remove(dir)
		}
	}
}

// makeV2 makes the group and hands all controllers down to its children.
func makeV2(base, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, g := range []string{base, dir} {
		for _, c := range []string{Memory, CPU, PIDs} {
			// Refused without delegation; the probe then shows what is missing.
			err := write(g, "cgroup.subtree_control", "+"+c)
			if errors.Is(err, syscall.EBUSY) && stepAside(g) {
				_ = write(g, "cgroup.subtree_control", "+"+c)
			}
		}
	}
	return nil
}

// stepAside moves the portal into a group of its own below g if it is alone in
// g, since a group with processes may not hand controllers down.
func stepAside(g string) bool {
	self := strconv.Itoa(os.Getpid())
	if strings.TrimSpace(read(g, "cgroup.procs")) != self {
		return false
	}
	aside := filepath.Join(g, "portal")
	if err := os.Mkdir(aside, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return false
	}
	return write(aside, "cgroup.procs", self) == nil
}

func (h *Host) tryV1(m mount, own, name, c string) {
	if h.V1[c] != "" {
		return
	}
	for _, base := range []string{m.point, m.below(own)} {
		dir := filepath.Join(base, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			h.refused(err, c)
			continue
		}
		if slices.Contains(probe(dir, 0), c) {
			h.V1[c] = dir
			return
		}
		_ = os.Remove(dir)
	}
}

// probe makes a group below dir and tells what its files can be written for.
func probe(dir string, column int) []string {
	test, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return nil
	}
	defer os.Remove(test)
	var has []string
	for c, file := range probes {
		if name := file[column]; name != "" {
			if f, err := os.OpenFile(filepath.Join(test, name), os.O_WRONLY, 0); err == nil {
				f.Close()
				has = append(has, c)
			} else if c == Account && exists(filepath.Join(test, name)) { // is read only
				has = append(has, c)
			}
		}
	}
	slices.Sort(has)
	return has
}

func (h *Host) refused(err error, controllers ...string) {
	for _, c := range controllers {
		why := "no group could be made"
		switch {
		case errors.Is(err, fs.ErrPermission):
			why = "the portal may not make control groups"
		case strings.Contains(err.Error(), "read-only"):
			why = "the control group file system is mounted read-only"
		}
		h.Why[c] = why
	}
}

// below gives the directory of the group path own within the mount.
func (m mount) below(own string) string {
	if rel, err := filepath.Rel(m.root, own); err == nil && filepath.IsLocal(rel) {
		return filepath.Join(m.point, rel)
	}
	return m.point
}

// readMounts gives the control group hierarchies in a mountinfo file.
func readMounts(path string) []mount {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []mount
	for s := bufio.NewScanner(f); s.Scan(); {
		left, right, ok := strings.Cut(s.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		switch r[0] {
		case "cgroup2":
			list = append(list, mount{point: l[4], root: l[3]})
		case "cgroup":
			list = append(list, mount{point: l[4], root: l[3], controllers: strings.Split(r[2], ",")})
		}
	}
	return list
}

// ownGroups gives the portal's own group by controller; "" is version 2.
func ownGroups(path string) map[string]string {
	b, _ := os.ReadFile(path)
	own := map[string]string{}
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 {
			for c := range strings.SplitSeq(parts[1], ",") {
				own[c] = parts[2]
			}
		}
	}
	return own
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func write(dir, file, value string) error {
	// Not os.WriteFile: a group's files cannot be created or truncated.
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}
