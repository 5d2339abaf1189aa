// Package procfs reads what the kernel says about processes, and signals
// processes in a way that pid reuse cannot lead astray.
package procfs

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
)

// ID names one process for good: a pid may be reused, a pid with its start
// time is not (until the machine boots anew).
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot
}

// Stat is what /proc/PID/stat holds, as far as it is needed here.
type Stat struct {
	ID
	State   byte // R, S, D, T, Z, …
	PPID    int
	Group   int
	Session int
	Ticks   uint64 // user and system time in clock ticks, with that of reaped children
	RSS     int64  // pages
	Threads int
}

// TicksPerSecond is the kernel's USER_HZ, which is fixed on Linux.
const TicksPerSecond = 100

var errStat = errors.New("malformed stat")

var buffers = sync.Pool{New: func() any { b := make([]byte, 1024); return &b }}

// Read gives the stat of a process; an error if there is none.
func Read(pid int) (Stat, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	defer f.Close()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := f.Read(*buf)
	if err != nil {
		return Stat{}, err // ESRCH: it ended in between
	}
	return parse((*buf)[:n])
}

// parse reads the stat line. The name, in brackets, may hold anything.
func parse(line []byte) (Stat, error) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 2 || end < open {
		return Stat{}, errStat
	}
	pid, err := strconv.Atoi(string(line[:open-1]))
	fields := strings.Fields(string(line[end+1:]))
	if err != nil || len(fields) < 22 {
		return Stat{}, errStat
	}
	s := Stat{ID: ID{PID: pid}, State: fields[0][0]}
	s.PPID, _ = strconv.Atoi(fields[1])
	s.Group, _ = strconv.Atoi(fields[2])
	s.Session, _ = strconv.Atoi(fields[3])
	for _, f := range fields[11:15] {
		n, _ := strconv.ParseUint(f, 10, 64)
		s.Ticks += n
	}
	s.Threads, _ = strconv.Atoi(fields[17])
	s.RSS, _ = strconv.ParseInt(fields[21], 10, 64)
	s.Start, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Stat{}, errStat
	}
	return s, nil
}

// Alive tells whether this very process still runs; a zombie does not.
func (id ID) Alive() bool {
	if id.PID <= 0 {
		return false
	}
	s, err := Read(id.PID)
	return err == nil && s.Start == id.Start && !s.Dead()
}

// Dead tells whether the process has ended and only waits to be reaped. One
// whose first thread has ended lives on in its others.
func (s Stat) Dead() bool { return (s.State == 'Z' || s.State == 'X') && s.Threads <= 1 }

// Of gives the identity of a process; the zero ID if there is none.
func Of(pid int) ID {
	s, err := Read(pid)
	if err != nil {
		return ID{}
	}
	return s.ID
}

// BootID names this run of the kernel: what was recorded under another one is gone.
var BootID = sync.OnceValue(func() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
})
