package cgroup

import (
	"slices"
	"strconv"
	"strings"
)

// OOMKills counts the processes of the group that the kernel ended because of
// the memory limit.
func (g Group) OOMKills() uint64 {
	if slices.Contains(g.V2Has, Memory) {
		return field(read(g.V2, "memory.events"), "oom_kill")
	}
	if dir := g.V1[Memory]; dir != "" {
		return field(read(dir, "memory.oom_control"), "oom_kill")
	}
	return 0
}

// CPUSeconds gives the processor time of all that ever ran in the group.
func (g Group) CPUSeconds() (float64, bool) {
	if dir := g.V1[Account]; dir != "" {
		n, err := strconv.ParseUint(strings.TrimSpace(read(dir, "cpuacct.usage")), 10, 64)
		return float64(n) / 1e9, err == nil
	}
	if s := read(g.V2, "cpu.stat"); g.V2 != "" && s != "" {
		return float64(field(s, "usage_usec")) / 1e6, true
	}
	return 0, false
}

// MemoryUse gives the bytes in use that the kernel could not simply drop.
func (g Group) MemoryUse() (int64, bool) {
	var used, cached uint64
	var err error
	switch dir := g.V1[Memory]; {
	case slices.Contains(g.V2Has, Memory):
		used, err = strconv.ParseUint(strings.TrimSpace(read(g.V2, "memory.current")), 10, 64)
		cached = field(read(g.V2, "memory.stat"), "inactive_file")
	case dir != "":
		used, err = strconv.ParseUint(strings.TrimSpace(read(dir, "memory.usage_in_bytes")), 10, 64)
		cached = field(read(dir, "memory.stat"), "total_inactive_file")
	default:
		return 0, false
	}
	return int64(used - min(cached, used)), err == nil
}

// field gives the number that follows name at the start of a line.
func field(text, name string) uint64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
			return n
		}
	}
	return 0
}

// PIDUse counts the processes and threads of the group.
func (g Group) PIDUse() (int, bool) {
	dir := g.V1[PIDs]
	if slices.Contains(g.V2Has, PIDs) {
		dir = g.V2
	}
	if dir == "" {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(read(dir, "pids.current")))
	return n, err == nil
}

// Throttled is for how long, in seconds, the limit of the group has kept it from
// the processor since it was made: the time of the periods in which that
// happened. (The kernel's own sum counts every processor by itself.)
func (g Group) Throttled() float64 {
	if slices.Contains(g.V2Has, CPU) {
		return throttled(read(g.V2, "cpu.stat"))
	}
	if dir := g.V1[CPU]; dir != "" {
		return throttled(read(dir, "cpu.stat"))
	}
	return 0
}

// period is the length, in seconds, of the periods in which processor time is
// given; the portal leaves it as the kernel has it.
const period = 0.1

func throttled(stat string) float64 { return float64(field(stat, "nr_throttled")) * period }
