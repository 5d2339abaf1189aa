package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Times are stored as microseconds since 1970, so that they come back from
// both databases exactly as they went in, cut to microseconds.

func micros(t time.Time) int64 { return t.UnixMicro() }

func moment(us int64) time.Time { return time.UnixMicro(us).UTC() }

func microsOf(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	us := micros(*t)
	return &us
}

func momentOf(us *int64) *time.Time {
	if us == nil {
		return nil
	}
	t := moment(*us)
	return &t
}

// encode writes a value as JSON. What is stored holds nothing that JSON can't
// express, except what an operator put into a spec's free fields.
func encode(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode %T: %w", v, err)
	}
	return string(data), nil
}

// encodeOptional is encode that writes "" for nil.
func encodeOptional[T any](v *T) (string, error) {
	if v == nil {
		return "", nil
	}
	return encode(v)
}

func decode(text string, into any) error {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("decode %T: %w", into, err)
	}
	return nil
}

// decodeOptional gives nil for "".
func decodeOptional[T any](text string) (*T, error) {
	if text == "" {
		return nil, nil
	}
	v := new(T)
	return v, decode(text, v)
}

func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// clean drops what a text column cannot hold: NUL, and bytes that are not UTF-8.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// present makes a value of nil, which a column may not be.
func present(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
