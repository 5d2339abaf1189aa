package checks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/diagnosis"
)

// The marks of a machine that runs out of something.
const (
	lowSpace      = 1 << 30 // bytes
	lowSpaceShare = 5       // percent
	noSpace       = 64 << 20
	lowShare      = 20 // percent of descriptors, processes and inodes
	noShare       = 3

	clockWarn = time.Second
	clockFail = 30 * time.Second
)

// Disk looks at the space and the inodes of the file system that the directory is on.
func Disk(dir string) []diagnosis.Check {
	return []diagnosis.Check{
		ofPortal("disk_space", func(context.Context) diagnosis.Outcome {
			st, at, err := statfs(dir)
			if err != nil {
				return broken("It is not known how much space is left.", "Check the file system of "+dir+".", err)
			}
			return space(st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize), at)
		}),
		ofPortal("disk_inodes", func(context.Context) diagnosis.Outcome {
			st, at, err := statfs(dir)
			if err != nil {
				return broken("It is not known how many files can still be made.", "Check the file system of "+dir+".", err)
			}
			return inodes(st.Ffree, st.Files, at)
		}),
	}
}

// statfs looks at the directory, or the nearest one above it that is there.
func statfs(dir string) (st syscall.Statfs_t, at string, err error) {
	for at = dir; ; at = filepath.Dir(at) {
		if err = syscall.Statfs(at, &st); !errors.Is(err, syscall.ENOENT) || at == filepath.Dir(at) {
			return st, at, err
		}
	}
}

func space(free, total uint64, at string) diagnosis.Outcome {
	evidence := fmt.Sprintf("%s of %s are free on the file system of %s", bytesText(free), bytesText(total), at)
	remedy := "Free space on the file system of " + at + ", or move the data directory to a larger one."
	switch {
	case free < noSpace:
		return fail("Nothing more can be stored: changes, tasks and logs are refused.", remedy, evidence)
	case free < lowSpace || total > 0 && free*100/total < lowSpaceShare && free < 10*lowSpace:
		return warn("Space runs out; when it has, the portal refuses changes and agents can't write.", remedy, evidence)
	}
	return fine("There is room for the database, queues and logs.", evidence)
}

func inodes(free, total uint64, at string) diagnosis.Outcome {
	if total == 0 {
		return skip("This file system has no fixed number of files.", "file system of "+at)
	}
	evidence := fmt.Sprintf("%d of %d inodes are free on the file system of %s", free, total, at)
	remedy := "Remove files that are not needed on the file system of " + at + "; many small ones are the usual cause."
	switch share := free * 100 / total; {
	case share < 1:
		return fail("No more files can be made, although there may be space.", remedy, evidence)
	case share < 5:
		return warn("The number of files runs out.", remedy, evidence)
	}
	return fine("More files can be made.", evidence)
}

func bytesText(n uint64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// Limits looks at the file descriptors and processes that this process may have.
func Limits() []diagnosis.Check {
	return []diagnosis.Check{ofPortal("file_descriptors", func(context.Context) diagnosis.Outcome { return descriptors("/proc") }),
		ofPortal("process_limit", func(context.Context) diagnosis.Outcome { return processes("/proc", "/sys/fs/cgroup") })}
}

func descriptors(proc string) diagnosis.Outcome {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return broken("The limit of file descriptors is not known.", "", err)
	}
	open, err := os.ReadDir(filepath.Join(proc, "self", "fd"))
	if err != nil {
		return skip("Open file descriptors can't be counted here.", err.Error())
	}
	evidence := []string{fmt.Sprintf("the portal has %d file descriptors open and may have %d", len(open), limit.Cur)}
	if data, err := os.ReadFile(filepath.Join(proc, "sys", "fs", "file-nr")); err == nil {
		if f := strings.Fields(string(data)); len(f) == 3 {
			evidence = append(evidence, "the machine has "+f[0]+" open and may have "+f[2])
		}
	}
	remedy := "Raise the limit (ulimit -n, or LimitNOFILE of the service) and restart the portal; agents go on meanwhile."
	switch left := share(uint64(len(open)), limit.Cur); {
	case left < noShare:
		return fail("No more files or connections can be opened.", remedy, evidence...)
	case left < lowShare:
		return warn("File descriptors run out; then connections are refused.", remedy, evidence...)
	case limit.Cur < 1024:
		return warn("The limit is small for a portal: each connection and each agent needs some.", remedy, evidence...)
	}
	return fine("There is room for more files and connections.", evidence...)
}

// share is what percentage of the limit is left.
func share(used, limit uint64) uint64 {
	if limit == 0 || used >= limit {
		return 0
	}
	return (limit - used) * 100 / limit
}

func processes(proc, cgroups string) diagnosis.Outcome {
	var w worse
	remedy := "Raise the limit (ulimit -u, TasksMax of the service, or pids.max of the control group), or stop what is not needed."
	judge := func(what string, used, limit uint64) {
		evidence := fmt.Sprintf("%s: %d of %d are in use", what, used, limit)
		switch left := share(used, limit); {
		case left < noShare:
			w.add(fail("No more processes can be started: agents can't start or restart.", remedy, evidence))
		case left < lowShare:
			w.add(warn("Processes run out; then agents can't start or restart.", remedy, evidence))
		default:
			w.add(fine("More processes can be started.", evidence))
		}
	}
	if max, err := number(filepath.Join(proc, "sys", "kernel", "pid_max")); err == nil {
		if list, err := os.ReadDir(proc); err == nil {
			judge("processes of the machine", countNumbers(list), max)
		}
	}
	for _, where := range []string{"", "pids"} { // version 2, version 1
		dir := filepath.Join(cgroups, where, ownGroup(proc, where))
		max, err := number(filepath.Join(dir, "pids.max"))
		used, err2 := number(filepath.Join(dir, "pids.current"))
		if err == nil && err2 == nil {
			judge("tasks of the portal's control group", used, max)
		}
	}
	if w.Status == "" {
		return skip("The limits of processes can't be read here.")
	}
	return w.Outcome
}

func countNumbers(list []os.DirEntry) (n uint64) {
	for _, e := range list {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			n++
		}
	}
	return n
}

// number reads a file that holds one; "max" counts as none.
func number(path string) (uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
}

// ownGroup gives the path of this process's control group of a controller.
func ownGroup(proc, controller string) string {
	data, err := os.ReadFile(filepath.Join(proc, "self", "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 && parts[1] == controller {
			return parts[2]
		}
	}
	return ""
}

// Clock looks whether time goes on evenly, whether something keeps it right, and
// whether the database's server agrees.
type Clock struct {
	// Now is the time with its monotonic reading, and Started an earlier one.
	Now     func() time.Time
	Started time.Time
	// Server gives the time of the database's server; false where it is this
	// machine. May be nil.
	Server func(ctx context.Context) (time.Time, bool, error)
}

// Name implements diagnosis.Check.
func (Clock) Name() string { return "clock" }

// Scope implements diagnosis.Check.
func (Clock) Scope() diagnosis.Scope { return diagnosis.Portal }

// Run implements diagnosis.Check.
func (c Clock) Run(ctx context.Context, _ diagnosis.Subject) diagnosis.Outcome {
	var w worse
	now := c.Now()
	jump := now.Round(0).Sub(c.Started.Round(0)) - now.Sub(c.Started)
	moved := "was not moved"
	if jump.Abs() >= 10*time.Millisecond {
		moved = "was moved by " + signed(jump)
	}
	w.add(apart(jump, fmt.Sprintf("since %s UTC the clock %s", c.Started.UTC().Format(time.DateTime), moved),
		"The clock of this machine was moved while the portal ran: times in logs and in the record do not follow each other."))
	if c.Server != nil {
		before := c.Now()
		server, other, err := c.Server(ctx)
		switch {
		case err != nil:
			w.add(broken("It is not known whether the database's server agrees on the time.", "See that the database answers.", err))
		case other:
			middle := before.Add(c.Now().Sub(before) / 2)
			diff := server.Sub(middle)
			w.add(apart(diff, "the clock of the database's server differs by "+signed(diff),
				"This machine and the database's server do not agree on the time: sessions and schedules end too early or too late."))
		}
	}
	w.add(kept())
	return w.Outcome
}

func signed(d time.Duration) string {
	if d < 0 {
		return "-" + within(-d)
	}
	return within(d)
}

func apart(d time.Duration, evidence, meaning string) diagnosis.Outcome {
	const remedy = "Run a time service (for example chrony or systemd-timesyncd) on every machine."
	switch {
	case d.Abs() >= clockFail:
		return fail(meaning, remedy, evidence)
	case d.Abs() >= clockWarn:
		return warn(meaning, remedy, evidence)
	}
	return fine("The clock runs evenly.", evidence)
}

// kept asks the kernel whether a time service keeps the clock right.
func kept() diagnosis.Outcome {
	const timeError, unsynchronised = 5, 0x40 // TIME_ERROR, STA_UNSYNC
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	switch {
	case err != nil:
		return skip("", "the kernel does not tell whether a time service keeps the clock right: "+err.Error())
	case state == timeError || t.Status&unsynchronised != 0:
		return fine("The clock runs evenly.", "the kernel knows of no time service that keeps the clock right (in a container that is usual)")
	}
	return fine("The clock runs evenly.", fmt.Sprintf("a time service keeps the clock right, within %s", within(time.Duration(t.Esterror)*time.Microsecond)))
}

// DataDir looks whether the data directory is there and for its owner alone.
func DataDir(dir string) diagnosis.Check {
	return ofPortal("data_directory", func(context.Context) diagnosis.Outcome {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fine("The first start makes it.", dir+" is not there yet")
		case err != nil:
			return broken("The data directory can't be used.", "Correct the permissions of "+dir+".", err)
		case !info.IsDir():
			return fail("The data directory can't be used.", "Choose another with --data.", dir+" is not a directory")
		case info.Mode().Perm()&0o077 != 0:
			return fail("Other users of this machine can read keys and data.", "chmod 700 "+dir, fmt.Sprintf("others may read %s (mode %04o)", dir, info.Mode().Perm()))
		}
		return fine("It is there, and for its owner alone.", dir)
	})
}
