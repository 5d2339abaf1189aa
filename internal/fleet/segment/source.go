package segment

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet"
)

// continues is shown at the end of a line that was too long to be kept whole.
const continues = " [continues]"

// position is a place in the output of one instance.
type position struct {
	segment int
	offset  int64
}

// source reads the output of one instance from a position on.
type source struct {
	dir      string
	instance string
	f        *os.File
	number   int      // of the open segment
	pos      position // of the first byte of buf
	buf      []byte   // read, not given yet
	block    []byte
	last     time.Time
	next     *fleet.LogLine // read ahead by the merger
	after    position       // where to go on after next
	mark     string         // the source's part of a cursor: after the last line that was given
}

func (s *source) close() {
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
}

// read gives the next whole line, or false if there is none yet.
func (s *source) read() (fleet.LogLine, bool) {
	for {
		if i := bytes.IndexByte(s.buf, '\n'); i >= 0 {
			return s.give(i, 1), true
		}
		if len(s.buf) > MaxLine+1024 { // no writer wrote that; still it is bounded
			return s.give(len(s.buf), 0), true
		}
		if s.fill() {
			continue
		}
		next := s.newer()
		if next == 0 {
			return fleet.LogLine{}, false
		}
		if s.fill() { // written between the last look and the new segment
			continue
		}
		if len(s.buf) > 0 {
			return s.give(len(s.buf), 0), true
		}
		s.close()
		s.pos = position{segment: next}
	}
}

// give parses the first n bytes, and drops them with skip more.
func (s *source) give(n, skip int) fleet.LogLine {
	l := s.parse(s.buf[:n])
	s.buf = s.buf[n+skip:]
	s.pos.offset += int64(n + skip)
	return l
}

// fill reads more of the open segment, opening it if need be.
func (s *source) fill() bool {
	if s.f == nil {
		f, err := os.Open(file(s.dir, s.pos.segment))
		if err != nil {
			return false
		}
		s.f, s.number, s.buf = f, s.pos.segment, nil
	}
	if s.block == nil {
		s.block = make([]byte, 32<<10)
	}
	n, err := s.f.ReadAt(s.block, s.pos.offset+int64(len(s.buf)))
	if n == 0 || err != nil && err != io.EOF {
		return false
	}
	s.buf = append(slices.Clip(s.buf), s.block[:n]...)
	return true
}

// newer gives the number of the segment that follows the one being read, 0 if
// there is none. A directory that was made anew is read from its start.
func (s *source) newer() int {
	numbers := list(s.dir)
	i, _ := slices.BinarySearch(numbers, s.pos.segment+1)
	if i < len(numbers) {
		return numbers[i]
	}
	if s.f == nil {
		return 0
	}
	info, err := s.f.Stat()
	now, err2 := os.Stat(file(s.dir, s.number))
	if err == nil && err2 == nil && os.SameFile(info, now) && now.Size() >= s.pos.offset {
		return 0
	}
	s.close()
	s.buf, s.pos = nil, position{}
	if len(numbers) > 0 {
		return numbers[0]
	}
	return 0
}

// parse reads a line; what no writer wrote is given as it stands.
func (s *source) parse(b []byte) fleet.LogLine {
	at, stream, partial, text, ok := split(b)
	if !ok {
		at, stream, partial, text = s.last, Stdout, false, b
	}
	if at.Before(s.last) {
		at = s.last
	}
	s.last = at
	l := fleet.LogLine{At: at, Instance: s.instance, Stream: stream, Text: clean(text)}
	if partial {
		l.Text += continues
	}
	return l
}

// split takes a line of a segment apart.
func split(b []byte) (at time.Time, stream string, partial bool, text []byte, ok bool) {
	when, rest, ok1 := bytes.Cut(b, []byte{' '})
	name, rest, ok2 := bytes.Cut(rest, []byte{' '})
	mark, text, ok3 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || !ok3 || len(when) > 40 || len(mark) != 1 {
		return at, "", false, nil, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(when))
	if err != nil {
		return at, "", false, nil, false
	}
	switch string(name) {
	case Stdout, Stderr, Portal:
		return at, string(name), mark[0] == 'P', text, true
	}
	return at, "", false, nil, false
}

// clean makes text out of whatever a program printed.
func clean(b []byte) string {
	text := strings.ToValidUTF8(string(bytes.TrimSuffix(b, []byte{'\r'})), "\uFFFD")
	return strings.ReplaceAll(text, "\x00", "\uFFFD")
}

// lastTime gives the time of the last readable line of a segment.
func lastTime(path string) time.Time {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}
	}
	b := make([]byte, min(info.Size(), 2*MaxLine))
	n, _ := f.ReadAt(b, info.Size()-int64(len(b)))
	for b = bytes.TrimSuffix(b[:n], []byte{'\n'}); len(b) > 0; {
		i := bytes.LastIndexByte(b, '\n')
		if at, _, _, _, ok := split(b[i+1:]); ok {
			return at
		}
		b = b[:max(i, 0)]
	}
	return time.Time{}
}

// firstTime gives the time of the first line of a segment.
func firstTime(path string) time.Time {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}
	}
	defer f.Close()
	b := make([]byte, 64)
	n, _ := f.Read(b)
	when, _, _ := bytes.Cut(b[:n], []byte{' '})
	at, _ := time.Parse(time.RFC3339Nano, string(when))
	return at
}

// since moves to the newest segment that surely holds every line from t on.
func (s *source) since(t time.Time) {
	numbers := list(s.dir)
	for _, n := range slices.Backward(numbers) {
		if n <= s.pos.segment {
			return
		}
		if first := firstTime(file(s.dir, n)); !first.IsZero() && !first.After(t) {
			s.pos = position{segment: n}
			return
		}
	}
}

// tail moves to the n-th last line, unless the source is past it already.
func (s *source) tail(n int) {
	for _, number := range slices.Backward(list(s.dir)) {
		if number < s.pos.segment {
			return
		}
		offset, found := lastLines(file(s.dir, number), n)
		if n -= found; n <= 0 {
			if number > s.pos.segment || offset > s.pos.offset {
				s.pos = position{segment: number, offset: offset}
			}
			return
		}
	}
}

// lastLines gives where the last n lines of a segment begin, and how many of
// them it has.
func lastLines(path string, n int) (offset int64, found int) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0
	}
	block := make([]byte, 64<<10)
	end := info.Size()
	first := true
	for end > 0 {
		b := block[:min(end, int64(len(block)))]
		k, err := f.ReadAt(b, end-int64(len(b)))
		if err != nil && err != io.EOF || k < len(b) {
			return 0, found
		}
		i := len(b)
		if first && b[i-1] == '\n' {
			i--
		}
		first = false
		for {
			if i = bytes.LastIndexByte(b[:i], '\n'); i < 0 {
				break
			}
			if found++; found == n {
				return end - int64(len(b)) + int64(i) + 1, n
			}
		}
		end -= int64(len(b))
	}
	return 0, found + 1
}
