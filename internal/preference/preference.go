// Package preference remembers what a person likes of the portal, for example
// the filters they have saved. It holds nothing that others depend on.
package preference

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/txn"
)

// The limits of what is remembered of one person.
const (
	MaxKeys  = 200     // of one person
	MaxBytes = 8 << 10 // of one value, as JSON
	maxKey   = 100     // characters of a key
)

// Preference is one value of one person.
type Preference struct {
	// Owner is the stable key of the person.
	Owner string
	// Key is a path of words, e.g. "agents/views/ID".
	Key string
	// Value is JSON.
	Value     json.RawMessage
	UpdatedAt time.Time
}

// Store keeps preferences. NotFound for one that is not there.
type Store interface {
	Preference(ctx context.Context, owner, key string) (*Preference, error)
	// Preferences gives those whose key begins with prefix, ordered by key.
	Preferences(ctx context.Context, owner, prefix string) ([]Preference, error)
	// PutPreference stores one in the place of the one that was there.
	PutPreference(ctx context.Context, p Preference) error
	DeletePreference(ctx context.Context, owner, key string) error
}

// Service reads and changes preferences within their limits.
type Service struct {
	Store Store
	Tx    txn.Runner
	Now   func() time.Time
}

var keys = regexp.MustCompile(`^[a-z0-9-]+(/[a-z0-9-]+)*$`)

// Get reads one value into v; NotFound if there is none.
func (s *Service) Get(ctx context.Context, owner, key string, v any) error {
	p, err := s.Store.Preference(ctx, owner, key)
	if err != nil {
		return err
	}
	return decode(*p, v)
}

// List gives the values whose key begins with prefix, ordered by key.
func (s *Service) List(ctx context.Context, owner, prefix string) ([]Preference, error) {
	return s.Store.Preferences(ctx, owner, prefix)
}

// Put remembers a value. Invalid for a key that is not well formed, TooLarge
// for a value or a number of values over the limit.
func (s *Service) Put(ctx context.Context, owner, key string, v any) error {
	if owner == "" {
		return fault.New(fault.Forbidden, "preference.nobody", "There is nobody whose preference this could be")
	}
	if len(key) > maxKey || !keys.MatchString(key) {
		return fault.New(fault.Invalid, "preference.key", "The preference can't be stored").
			At(fault.Field{Path: "key", Message: fmt.Sprintf("must be words of a-z, 0-9 and - with / between them, at most %d characters", maxKey)})
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode preference %s: %w", key, err)
	}
	if len(data) > MaxBytes {
		return fault.New(fault.TooLarge, "preference.too_large", "This is too long to be remembered").
			Because("it takes %d bytes, and %d are kept", len(data), MaxBytes)
	}
	return s.Tx.Do(ctx, func(ctx context.Context) error {
		if err := s.room(ctx, owner, key); err != nil {
			return err
		}
		return s.Store.PutPreference(ctx, Preference{Owner: owner, Key: key, Value: data, UpdatedAt: s.Now().UTC()})
	})
}

// room tells whether the key may be stored: it is there already, or there are
// not too many.
func (s *Service) room(ctx context.Context, owner, key string) error {
	all, err := s.Store.Preferences(ctx, owner, "")
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.Key == key {
			return nil
		}
	}
	if len(all) >= MaxKeys {
		return fault.New(fault.TooLarge, "preference.too_many", "There is no room for more").
			Because("%d things are remembered of you already", len(all)).Do("Delete a saved view first.")
	}
	return nil
}

// Delete forgets a value; NotFound if there is none.
func (s *Service) Delete(ctx context.Context, owner, key string) error {
	return s.Store.DeletePreference(ctx, owner, key)
}

// Decode reads the value into v.
func (p Preference) Decode(v any) error { return decode(p, v) }

func decode(p Preference, v any) error {
	if err := json.Unmarshal(p.Value, v); err != nil {
		return fmt.Errorf("decode preference %s: %w", p.Key, err)
	}
	return nil
}
