package kubernetes

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
)

const (
	longest = 8 << 20 // bytes of a line
)

// copied is how far the output of a pod was taken.
type copied struct {
	segment.Copy
	pod types.UID
	run int // of the pod, of which there may be more to take
}

// copyLogs takes the output of a pod's run until it ends, and before it what is left
// to take of the run before, which is as far back as a node goes. It goes on where it
// stopped; what the portal before this one took is known by its own files.
func (u *unit) copyLogs(ctx context.Context, pod *corev1.Pod, run int) error {
	c, dir := &u.copied, filepath.Join(u.r.logsDir(u.agentID), u.instanceID)
	fresh, err := c.Open(dir, u.r.cfg.SegmentSize, u.r.cfg.Segments)
	if err != nil {
		return err
	}
	if fresh && c.Resume(dir, pod.CreationTimestamp.Time) {
		c.pod = pod.UID
	}
	if c.pod != pod.UID {
		c.pod, c.run = pod.UID, 0
		c.Forget()
	}
	if c.run < run {
		err := u.copyRun(ctx, pod.Name, &corev1.PodLogOptions{Previous: true})
		if err != nil && (ctx.Err() != nil || isAway(err)) {
			return err
		}
		c.run = run // what the node does not have any more is lost
	}
	return u.copyRun(ctx, pod.Name, &corev1.PodLogOptions{Follow: true})
}

func (u *unit) copyRun(ctx context.Context, name string, q *corev1.PodLogOptions) error {
	q.Container, q.Timestamps = container, true
	if since := u.copied.Since(); !since.IsZero() {
		q.SinceTime = &meta.Time{Time: since.Truncate(time.Second)}
	}
	body, err := u.r.api.ofPod(u.r.namespace, name, "log", q).Stream(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	return u.take(bufio.NewReaderSize(body, 64<<10))
}

// take reads lines, each of which has its time before it. The cluster does not
// tell standard output and error apart.
func (u *unit) take(in *bufio.Reader) error {
	c := &u.copied
	defer c.Flush()
	c.Begin()
	for {
		if in.Buffered() == 0 {
			c.Flush()
		}
		line, err := readLine(in)
		if when, text, ok := bytes.Cut(line, []byte{' '}); ok || len(line) > 0 {
			at, terr := time.Parse(time.RFC3339Nano, string(when))
			if terr != nil { // a remark of the node about a log that it lost
				at, text = time.Now().UTC(), line
			}
			c.Line(at, segment.Stdout, false, text)
		}
		if err != nil {
			return segment.Ended(err)
		}
	}
}

// readLine reads a line without its end; of one that is too long the beginning.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part[:min(len(part), longest-len(line))]...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimSuffix(line, []byte{'\n'}), err
		}
	}
}

// ReadLogs implements fleet.LogReader.
func (r *Runtime) ReadLogs(ctx context.Context, q fleet.LogQuery, fn func(fleet.LogLine) error) error {
	return segment.Read(ctx, r.logsDir(q.AgentID), q, fn)
}

// pruneLogs removes the oldest logs of instances that are no more.
func (r *Runtime) pruneLogs(agentID, except string) {
	segment.Prune(r.logsDir(agentID), func(instance string) bool { return instance == except || r.unit(instance) != nil })
}

// remove deletes the record of an instance that is gone.
func (u *unit) remove() { _ = os.Remove(u.file()) }
