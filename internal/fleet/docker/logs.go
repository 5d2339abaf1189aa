package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
)

// stream asks for the output of the container until its run ends, beginning where
// it was stopped; what the portal before this one took is known by its own files.
func (u *unit) stream() (io.ReadCloser, error) {
	if err := u.openLogs(); err != nil {
		return nil, err
	}
	q := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: true}
	if since := u.copied.Since(); !since.IsZero() {
		q.Since = since.Format(time.RFC3339Nano)
	}
	return u.r.api().ContainerLogs(u.ctx, u.container, q)
}

// openLogs makes ready to write, and finds out what an earlier portal took of this
// container.
func (u *unit) openLogs() error {
	dir := filepath.Join(u.r.logsDir(u.agentID), u.instanceID)
	fresh, err := u.copied.Open(dir, u.r.cfg.SegmentSize, u.r.cfg.Segments)
	if err != nil || !fresh {
		return err
	}
	ctx, cancel := u.r.bounded(u.ctx)
	defer cancel()
	got, err := u.r.api().ContainerInspect(ctx, u.container, client.ContainerInspectOptions{})
	if err == nil {
		u.copied.Resume(dir, instant(got.Container.Created))
	}
	return nil
}

// errFrame is output that is not in the engine's form.
var errFrame = errors.New("the engine sent output in a form that is not known")

// take reads frames: one byte for the stream, three of zeros, four for the
// length, and then a line with its time before it. A line that was too long for
// the engine comes in parts, only the last of which ends with a line feed.
func (u *unit) take(body io.Reader) error {
	in := bufio.NewReaderSize(body, 64<<10)
	c := &u.copied
	defer c.Flush()
	c.Begin()
	var head [8]byte
	for {
		if in.Buffered() == 0 {
			c.Flush()
		}
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return segment.Ended(err)
		}
		size := binary.BigEndian.Uint32(head[4:])
		if head[0] > 2 || size > 8<<20 {
			return errFrame
		}
		frame := make([]byte, size)
		if _, err := io.ReadFull(in, frame); err != nil {
			return segment.Ended(err)
		}
		when, text, ok := bytes.Cut(frame, []byte{' '})
		at := instant(string(when))
		if !ok || at.IsZero() {
			return errFrame
		}
		line, whole := bytes.CutSuffix(text, []byte{'\n'})
		stream := segment.Stdout
		if head[0] == 2 {
			stream = segment.Stderr
		}
		c.Line(at, stream, !whole && len(line) >= 16<<10, line)
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

func itoa(n int) string { return strconv.Itoa(n) }
