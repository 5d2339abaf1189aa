package shim

import (
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

// watchQuotas looks now and then at what the agent's directories hold.
func (s *supervisor) watchQuotas() {
	if len(s.cfg.Quotas) == 0 {
		return
	}
	every := s.cfg.QuotaEvery
	if every <= 0 {
		every = 10 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.left:
			return
		}
		for _, q := range s.cfg.Quotas {
			if used := DiskUse(q.Dirs...); used > q.Bytes {
				reason := q.What + " exceeded: " + mib(used) + " of " + agent.Quantity(q.Bytes).String()
				s.post(func() { s.overQuota(reason) })
			}
		}
	}
}

func mib(n int64) string {
	if n < 1<<20 {
		return itoa(int(n>>10)) + "Ki"
	}
	return itoa(int(n>>20)) + "Mi"
}

// maxEntries bounds one look at a tree of files.
const maxEntries = 2_000_000

// DiskUse gives the bytes that the directories take on disk, links not
// followed and files with several names counted once.
func DiskUse(dirs ...string) int64 {
	var sum int64
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	entries := 0
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if entries++; entries > maxEntries {
				return fs.SkipAll
			}
			if err != nil {
				return nil //nolint:nilerr // it vanished meanwhile
			}
			info, err := d.Info()
			if err != nil {
				return nil //nolint:nilerr // likewise
			}
			st, ok := info.Sys().(*syscall.Stat_t)
			if !ok {
				return nil
			}
			if st.Nlink > 1 && !d.IsDir() {
				id := inode{st.Dev, st.Ino}
				if seen[id] {
					return nil
				}
				seen[id] = true
			}
			sum += st.Blocks * 512
			return nil
		})
	}
	return sum
}
