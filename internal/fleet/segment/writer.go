// Package segment keeps the output of instances in numbered files of bounded
// size and number, one directory an instance, and reads it back: merged over
// instances in order of time, from any point, and on as it grows.
//
// A line in a file is "TIME STREAM F|P TEXT", TIME being RFC 3339 with
// nanoseconds, as container engines write it; P marks a line that goes on in
// the next one. Times grow strictly within a directory.
package segment

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// MaxLine is the longest line that is kept whole, in bytes.
const MaxLine = 64 << 10

// The streams.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	Portal = "portal" // the supervisor's own notes
)

// Writer appends lines to a directory. There must be only one per directory.
type Writer struct {
	dir   string
	size  int64 // bytes of a segment
	count int   // segments to keep

	mu   sync.Mutex
	f    *os.File
	n    int   // number of the open segment
	used int64 // its bytes
	last time.Time
	lost int  // lines that could not be written
	torn bool // the file ends within a line
	out  []byte
}

// Open goes on with the directory, which it makes if need be. Segments of size
// bytes are kept, the newest count of them.
func Open(dir string, size int64, count int) (*Writer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, size: max(size, 1024), count: max(count, 2)}
	numbers := list(dir)
	if len(numbers) == 0 {
		return w, w.open(1)
	}
	for _, n := range slices.Backward(numbers) { // the newest may be empty
		if t := lastTime(file(dir, n)); !t.IsZero() {
			w.last = t
			break
		}
	}
	return w, w.open(numbers[len(numbers)-1])
}

// open makes segment n the one that is written.
func (w *Writer) open(n int) error {
	f, err := os.OpenFile(file(w.dir, n), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	if w.f != nil {
		w.f.Close()
	}
	w.f, w.n, w.used = f, n, info.Size()
	if w.used > 0 {
		end := make([]byte, 1)
		if _, err := f.ReadAt(end, w.used-1); err == nil && end[0] != '\n' {
			// The last writer was killed within a line.
			k, _ := f.WriteString("\n")
			w.used += int64(k)
		}
	}
	return nil
}

// Note writes one line of the supervisor.
func (w *Writer) Note(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.put(time.Now(), Portal, 'F', []byte(text))
	w.flush()
}

// Line writes one line that was written at the time; partial marks one that goes
// on in the next.
func (w *Writer) Line(at time.Time, stream string, partial bool, text []byte) {
	mark := byte('F')
	if partial {
		mark = 'P'
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.put(at, stream, mark, text)
}

// Flush writes what Line has put off.
func (w *Writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
}

// Close ends the writer.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
	return w.f.Close()
}

// Copy takes lines from r until it ends. Its memory is bounded, whatever comes;
// a slow disk holds the sender up.
func (w *Writer) Copy(r io.Reader, stream string) {
	buf, have := make([]byte, 4096), 0
	for {
		n, err := r.Read(buf[have:])
		have = w.take(buf[:have+n], have, stream)
		if err != nil {
			if have > 0 {
				w.lines(stream, 'F', buf[:have]) // the end of a line that was never ended
			}
			return
		}
		if len(buf)-have < len(buf)/4 && len(buf) < MaxLine {
			buf = append(make([]byte, 0, 2*len(buf)), buf[:have]...)
			buf = buf[:cap(buf)]
		}
	}
}

// take writes all whole lines of b, moves the rest to the front and gives its
// length. The first old bytes are known to hold no end of a line.
func (w *Writer) take(b []byte, old int, stream string) int {
	if end := bytes.LastIndexByte(b[old:], '\n'); end >= 0 {
		end += old
		w.lines(stream, 'F', b[:end])
		return copy(b, b[end+1:])
	}
	if len(b) >= MaxLine {
		end := whole(b)
		w.lines(stream, 'P', b[:end])
		return copy(b, b[end:])
	}
	return len(b)
}

// whole gives the length of b without a character that is cut at its end.
func whole(b []byte) int {
	for i := 1; i < utf8.UTFMax && i < len(b); i++ {
		if start := b[len(b)-i:]; utf8.RuneStart(start[0]) {
			if !utf8.FullRune(start) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}

// lines writes b, whose lines are parted by line feeds. They came together, and say
// so: a machine that stands still between two of them must not tear a stack trace.
func (w *Writer) lines(stream string, mark byte, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for {
		line, rest, more := bytes.Cut(b, []byte{'\n'})
		w.put(now, stream, mark, line)
		if !more {
			break
		}
		b = rest
	}
	w.flush()
}

// put puts one line into the buffer. Times must not go back.
func (w *Writer) put(now time.Time, stream string, mark byte, text []byte) {
	if !now.After(w.last) { // also when the clock was set back
		now = w.last.Add(1)
	}
	w.last = now
	w.out = now.UTC().AppendFormat(w.out, time.RFC3339Nano)
	w.out = append(w.out, ' ')
	w.out = append(w.out, stream...)
	w.out = append(w.out, ' ', mark, ' ')
	w.out = append(w.out, text...)
	w.out = append(w.out, '\n')
	if len(w.out) >= 32<<10 {
		w.flush()
	}
}

// flush writes the buffer. What cannot be written, as when the disk is full, is
// counted and dropped: the instance must not hang for its log.
func (w *Writer) flush() {
	if len(w.out) == 0 {
		return
	}
	if w.used > 0 && w.used+int64(len(w.out)) > w.size {
		w.rotate()
	}
	if w.lost > 0 {
		note := fmt.Sprintf("%s %s F %d lines could not be written\n",
			w.last.UTC().Format(time.RFC3339Nano), Portal, w.lost)
		if n, err := w.f.WriteString(note); err == nil {
			w.used, w.lost = w.used+int64(n), 0
		}
	}
	if w.torn {
		n, _ := w.f.WriteString("\n")
		w.used += int64(n)
		w.torn = n == 0
	}
	n, err := w.f.Write(w.out)
	w.used += int64(n)
	if err != nil {
		w.lost += bytes.Count(w.out[n:], []byte{'\n'})
		w.torn = w.torn || n > 0 && w.out[n-1] != '\n'
	}
	w.out = w.out[:0]
	if cap(w.out) > 128<<10 {
		w.out = nil
	}
}

// rotate begins the next segment and removes those over the count.
func (w *Writer) rotate() {
	if err := w.open(w.n + 1); err != nil {
		return // goes on in the old one
	}
	numbers := list(w.dir)
	for _, n := range numbers[:max(0, len(numbers)-w.count)] {
		_ = os.Remove(file(w.dir, n))
	}
}

// file names a segment.
func file(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("%08d.log", n)) }

// list gives the numbers of the segments, ascending.
func list(dir string) []int {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var numbers []int
	for _, name := range names {
		if base, ok := strings.CutSuffix(name, ".log"); ok {
			if n, err := strconv.Atoi(base); err == nil && n > 0 {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers
}
