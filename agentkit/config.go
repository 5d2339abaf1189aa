package agentkit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Field is one setting that can be changed while the agent runs. The type of
// Default is the type of the setting: string, bool, int, float64 or
// time.Duration (written as "1m30s").
type Field struct {
	Name    string
	Doc     string
	Default any
	Check   func(value any) error // gets a value of the type of Default; see Between
}

// Between accepts values from lo to hi, for Field.Check.
func Between[T cmp.Ordered](lo, hi T) func(any) error {
	return func(v any) error {
		if x, ok := v.(T); !ok || x < lo || x > hi {
			return fmt.Errorf("from %v to %v is accepted", lo, hi)
		}
		return nil
	}
}

// Config is the hot configuration of an agent. Read a setting where it is
// needed, each time. Its methods panic for a name that was not declared with
// that type, because that is a mistake in the agent's program.
type Config struct {
	fields []Field
	mu     sync.RWMutex
	values map[string]any
	file   string
}

// NewConfig declares the settings. It panics if a declaration is wrong.
func NewConfig(fields ...Field) *Config {
	c := &Config{fields: fields, values: map[string]any{}}
	for _, f := range fields {
		if _, twice := c.values[f.Name]; twice || f.Name == "" {
			panic(fmt.Sprintf("agentkit: the name of the setting %q is empty or used twice", f.Name))
		}
		if err := f.check(f.Default); typeName(f.Default) == "" || err != nil {
			panic(fmt.Sprintf("agentkit: the default of the setting %q is not valid: %v", f.Name, err))
		}
		c.values[f.Name] = f.Default
	}
	return c
}

// String gives a setting of type string.
func (c *Config) String(name string) string { return setting[string](c, name) }

// Bool gives a setting of type bool.
func (c *Config) Bool(name string) bool { return setting[bool](c, name) }

// Int gives a setting of type int.
func (c *Config) Int(name string) int { return setting[int](c, name) }

// Float gives a setting of type float64.
func (c *Config) Float(name string) float64 { return setting[float64](c, name) }

// Duration gives a setting of type time.Duration.
func (c *Config) Duration(name string) time.Duration { return setting[time.Duration](c, name) }

func setting[T any](c *Config, name string) T {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, ok := c.values[name].(T)
	if !ok {
		panic(fmt.Sprintf("agentkit: there is no setting %q of type %T", name, v))
	}
	return v
}

// FieldError is one setting that was refused.
type FieldError struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// configError names every setting that was refused.
type configError []FieldError

func (e configError) Error() string {
	var parts []string
	for _, f := range e {
		parts = append(parts, f.Path+": "+f.Message)
	}
	return strings.Join(parts, "; ")
}

// patch changes settings: all of them or, with an error, none. A null brings
// the default back. It returns when the new values are on disk, if there is a
// place for them.
func (c *Config) patch(changes map[string]json.RawMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next, err := c.merge(changes)
	if err != nil {
		return err
	}
	if c.file != "" {
		if err := c.save(next); err != nil {
			return fmt.Errorf("keep the configuration: %w", err)
		}
	}
	c.values = next
	return nil
}

func (c *Config) merge(changes map[string]json.RawMessage) (map[string]any, error) {
	next := map[string]any{}
	var refused configError
	for _, f := range c.fields {
		raw, ok := changes[f.Name]
		delete(changes, f.Name)
		next[f.Name] = c.values[f.Name]
		if !ok {
			continue
		}
		v, err := f.parse(raw)
		if err != nil {
			refused = append(refused, FieldError{f.Name, err.Error()})
			continue
		}
		next[f.Name] = v
	}
	for name := range changes {
		refused = append(refused, FieldError{name, "there is no such setting"})
	}
	if len(refused) > 0 {
		return nil, refused
	}
	return next, nil
}

func (f Field) parse(raw json.RawMessage) (any, error) {
	if string(bytes.TrimSpace(raw)) == "null" {
		return f.Default, nil
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	switch f.Default.(type) {
	case time.Duration:
		s, _ := v.(string)
		d, err := time.ParseDuration(s)
		if err != nil {
			return nil, errors.New(`a time span such as "1m30s" is accepted`)
		}
		v = d
	case int:
		n, ok := v.(float64)
		if !ok || n != math.Trunc(n) || math.Abs(n) > 1<<53 {
			return nil, errors.New("a whole number is accepted")
		}
		v = int(n)
	}
	if typeName(v) != typeName(f.Default) {
		return nil, fmt.Errorf("a %s is accepted", typeName(f.Default))
	}
	return v, f.check(v)
}

func (f Field) check(v any) error {
	if f.Check == nil {
		return nil
	}
	return f.Check(v)
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case int:
		return "integer"
	case float64:
		return "number"
	case time.Duration:
		return "duration"
	}
	return ""
}

// load takes the values that were kept in the folder, and keeps later ones
// there. A kept value that is not valid any more gives way to the default;
// the error says which.
func (c *Config) load(dir string) error {
	if dir == "" || len(c.fields) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.file = filepath.Join(dir, "config.json")
	data, err := os.ReadFile(c.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept map[string]json.RawMessage
	if err := json.Unmarshal(data, &kept); err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	var refused configError
	for name, raw := range kept {
		next, err := c.merge(map[string]json.RawMessage{name: raw})
		var one configError
		if errors.As(err, &one) {
			refused = append(refused, one...)
			continue
		}
		c.values = next
	}
	if len(refused) > 0 {
		return refused
	}
	return nil
}

// save writes what differs from the defaults; the old file stays whole until
// the new one is on disk.
func (c *Config) save(values map[string]any) error {
	data, err := json.MarshalIndent(c.plain(values, true), "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(c.file), "config-*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// plain gives values as they are written in JSON.
func (c *Config) plain(values map[string]any, changedOnly bool) map[string]any {
	out := map[string]any{}
	for _, f := range c.fields {
		if v := values[f.Name]; !changedOnly || v != f.Default {
			out[f.Name] = plainValue(v)
		}
	}
	return out
}

func plainValue(v any) any {
	if d, ok := v.(time.Duration); ok {
		return d.String()
	}
	return v
}

// describe is what GET /v1/config answers.
func (c *Config) describe() map[string]any {
	c.mu.RLock()
	defer c.mu.RUnlock()
	fields := []map[string]any{}
	for _, f := range c.fields {
		fields = append(fields, map[string]any{
			"name": f.Name, "type": typeName(f.Default), "default": plainValue(f.Default), "description": f.Doc,
		})
	}
	return map[string]any{"values": c.plain(c.values, false), "fields": fields, "persistent": c.file != ""}
}
