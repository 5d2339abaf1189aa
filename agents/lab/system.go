package lab

import (
	"syscall"
	"time"
)

// rusageThread asks for what the calling thread has used.
const rusageThread = 1

// threadTime is the CPU time that this thread has used.
func threadTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(rusageThread, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// limitFiles sets how many files this program may have open.
func limitFiles(n int) error {
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(n), Max: uint64(n)})
}

// pause is the pace of what goes wrong.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}
