package memory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The kinds of memory.
const (
	Short = "short" // is forgotten after a time
	Long  = "long"  // stays
)

// Limits that no setting can lift.
const (
	MaxText      = 64 << 10 // bytes
	MaxQuery     = 4 << 10  // bytes
	MaxNamespace = 128      // bytes
	MaxTags      = 16
	MaxTag       = 64 // bytes
	MaxResults   = 100
	MaxTTL       = 10 * 365 * 24 * time.Hour

	defaultNamespace = "default"
)

// Item is one thing that is remembered.
type Item struct {
	ID        int64     `json:"id"`
	Namespace string    `json:"namespace"`
	Kind      string    `json:"kind"`
	Text      string    `json:"text"`
	Tags      []string  `json:"tags"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Score     float64   `json:"score,omitempty"` // of a recall; higher is better
}

// StoreRequest asks to remember something.
type StoreRequest struct {
	Text      string   `json:"text"`
	Kind      string   `json:"kind,omitempty"`      // short or long, the default
	Namespace string   `json:"namespace,omitempty"` // default "default"
	Tags      []string `json:"tags,omitempty"`
	TTL       string   `json:"ttl,omitempty"` // such as "10m"; needed by neither kind
}

// RecallRequest asks what is remembered of something. Any text is a valid
// query; an empty one gives the newest items.
type RecallRequest struct {
	Query     string   `json:"query,omitempty"`
	K         int      `json:"k,omitempty"`         // results at most
	Kind      string   `json:"kind,omitempty"`      // short, long, or both
	Namespace string   `json:"namespace,omitempty"` // default "default"
	Tags      []string `json:"tags,omitempty"`      // all of them
}

// ForgetRequest says what to delete: by ids, or in one namespace either what
// holds all words of the query, or all.
type ForgetRequest struct {
	IDs       []int64 `json:"ids,omitempty"`
	Namespace string  `json:"namespace,omitempty"`
	Query     string  `json:"query,omitempty"`
	All       bool    `json:"all,omitempty"`
}

// Compaction is what Compact has done.
type Compaction struct {
	Expired     int   `json:"expired"`
	Merged      int   `json:"merged"` // items that said the same as a newer one
	Items       int   `json:"items"`  // left
	BytesBefore int64 `json:"bytes_before"`
	BytesAfter  int64 `json:"bytes_after"`
}

// Stats says how much is remembered.
type Stats struct {
	Items      int            `json:"items"`
	Short      int            `json:"short"`
	Long       int            `json:"long"`
	Expired    int            `json:"expired"` // not deleted yet, and never recalled
	Namespaces map[string]int `json:"namespaces"`
	Bytes      int64          `json:"bytes"`
	MaxItems   int            `json:"max_items"`
}

var (
	// ErrNotFound means that there is no such item (any more).
	ErrNotFound = errors.New("there is no such memory")
	// ErrFull means that the limit of items is reached.
	ErrFull = errors.New("the memory is full: forget something, or raise max_items")
)

// InvalidError says which field of a request is wrong, and why.
type InvalidError struct{ Field, Message string }

func (e *InvalidError) Error() string { return e.Field + ": " + e.Message }

func invalid(field, message string, args ...any) error {
	return &InvalidError{Field: field, Message: fmt.Sprintf(message, args...)}
}

func checkText(field, s string, limit int) error {
	switch {
	case len(s) > limit:
		return invalid(field, "it has %d bytes; %d at most are accepted", len(s), limit)
	case !utf8.ValidString(s):
		return invalid(field, "it is not UTF-8")
	case strings.ContainsRune(s, 0):
		return invalid(field, "it holds a NUL character")
	}
	return nil
}

func checkNamespace(s string) (string, error) {
	if s == "" {
		return defaultNamespace, nil
	}
	if err := checkText("namespace", s, MaxNamespace); err != nil {
		return "", err
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", invalid("namespace", "control characters are not accepted")
	}
	return s, nil
}

func checkKind(s, def string) (string, error) {
	switch s {
	case "":
		return def, nil
	case Short, Long:
		return s, nil
	}
	return "", invalid("kind", "%q is neither short nor long", s)
}

// checkTags gives the tags sorted and without repetitions.
func checkTags(tags []string) ([]string, error) {
	if len(tags) > MaxTags {
		return nil, invalid("tags", "there are %d; %d at most are accepted", len(tags), MaxTags)
	}
	for i, tag := range tags {
		field := fmt.Sprintf("tags[%d]", i)
		if err := checkText(field, tag, MaxTag); err != nil {
			return nil, err
		}
		if strings.TrimSpace(tag) == "" || strings.ContainsFunc(tag, unicode.IsControl) {
			return nil, invalid(field, "a tag is a word without control characters")
		}
	}
	tags = slices.Clone(tags)
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// words takes a text apart as the index does: everything but letters, marks
// and numbers separates.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) && !unicode.Is(unicode.Co, r)
	})
}

const maxWords = 64

// match makes any text an expression of the index: each word in quotes, so
// that nothing in it is taken for syntax. It is empty for a text without words.
func match(s, operator string) string {
	all := words(s)
	if len(all) > maxWords {
		all = all[:maxWords]
	}
	for i, w := range all {
		all[i] = `"` + w + `"`
	}
	return strings.Join(all, " "+operator+" ")
}

// normal is the text as it is compared for merging: case and spaces don't count.
func normal(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }
