package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU time in /proc (USER_HZ, 100 on every Linux
// that Go runs on).
const clockTick = 10 * time.Millisecond

// cpuTime gives the CPU time that a process has used, all its threads.
func cpuTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err
}

// memory gives the resident memory of a process in MB.
func memory(pid int) (float64, error) { return status(pid, "VmRSS:") }

// ownMemory is memory without the files that the process has mapped, which the
// kernel takes back when it needs the room.
func ownMemory(pid int) (float64, error) { return status(pid, "RssAnon:") }

func status(pid int, field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field); ok {
			kb, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kb / 1000, err
		}
	}
	return 0, fmt.Errorf("no %s of process %d", field, pid)
}
