package store

import (
	"sync"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// keptSpecs is how many specifications stay decoded.
const keptSpecs = 2048

// specs keeps specifications decoded by their text, for pages and reconcilers read
// the same ones again and again. It is asked with the text that the database gives
// now, so it can't be out of date. What it gives is shared: it is read, and replaced
// as a whole, but not written to. The zero value is ready.
type specs struct {
	mu   sync.Mutex
	kept map[string]decodedSpec // by agent
}

type decodedSpec struct {
	text string
	spec agent.Spec
}

// decode gives the specification that the text of the agent means.
func (s *specs) decode(id, text string) (agent.Spec, error) {
	s.mu.Lock()
	known, ok := s.kept[id]
	s.mu.Unlock()
	if ok && known.text == text {
		return known.spec, nil
	}
	var spec agent.Spec
	if err := database.Decode(text, &spec); err != nil {
		return spec, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil || !ok && len(s.kept) >= keptSpecs {
		s.kept = map[string]decodedSpec{}
	}
	s.kept[id] = decodedSpec{text, spec}
	return spec, nil
}
