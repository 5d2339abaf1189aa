package portal

import (
	"bytes"
	"sync"
)

// keptLog is how many bytes of its own log a portal keeps for a support bundle.
const keptLog = 1 << 20

// recent keeps the last lines that were written to it. It is safe for
// concurrent use.
type recent struct {
	mu   sync.Mutex
	text []byte
}

// Write keeps the end of what was written so far.
func (r *recent) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, p...)
	if len(r.text) > 2*keptLog { // seldom, so that most writes copy nothing else
		r.text = append(make([]byte, 0, 2*keptLog), r.tail()...)
	}
	return len(p), nil
}

// tail is what is kept, from the beginning of a line on.
func (r *recent) tail() []byte {
	text := r.text
	if len(text) > keptLog {
		text = text[len(text)-keptLog:]
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
	}
	return text
}

// Text gives a copy of what is kept.
func (r *recent) Text() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.tail())
}
