package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// maxBody leaves room for a text that JSON makes six times as long.
const maxBody = 6*MaxText + 16<<10

func (m *remembering) mount(mux *http.ServeMux) {
	handle := func(pattern string, h func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			v, err := h(r)
			answer(w, r, v, err)
		})
	}
	handle("POST /v1/memory", func(r *http.Request) (any, error) {
		var in StoreRequest
		if err := read(r, &in); err != nil {
			return nil, err
		}
		return m.store.Store(r.Context(), in)
	})
	handle("GET /v1/memory", func(r *http.Request) (any, error) {
		in, err := recallRequest(r)
		if err != nil {
			return nil, err
		}
		return m.recall(r.Context(), in)
	})
	handle("GET /v1/memory/{id}", func(r *http.Request) (any, error) {
		id, err := itemID(r)
		if err != nil {
			return nil, err
		}
		return m.store.Get(r.Context(), id)
	})
	handle("DELETE /v1/memory/{id}", func(r *http.Request) (any, error) {
		id, err := itemID(r)
		if err != nil {
			return nil, err
		}
		if _, err := m.store.Get(r.Context(), id); err != nil {
			return nil, err
		}
		return m.forget(r.Context(), ForgetRequest{IDs: []int64{id}})
	})
	handle("POST /v1/memory/forget", func(r *http.Request) (any, error) {
		var in ForgetRequest
		if err := read(r, &in); err != nil {
			return nil, err
		}
		return m.forget(r.Context(), in)
	})
	handle("POST /v1/memory/compact", func(r *http.Request) (any, error) { return m.store.Compact(r.Context()) })
	handle("GET /v1/memory/stats", func(r *http.Request) (any, error) { return m.store.Stats(r.Context()) })
}

func recallRequest(r *http.Request) (RecallRequest, error) {
	q := r.URL.Query()
	in := RecallRequest{Query: q.Get("q"), Kind: q.Get("kind"), Namespace: q.Get("namespace"), Tags: q["tag"]}
	if k := q.Get("k"); k != "" {
		n, err := strconv.Atoi(k)
		if err != nil || n == 0 {
			return in, invalid("k", "from 1 to %d is accepted", MaxResults)
		}
		in.K = n
	}
	return in, nil
}

func itemID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, ErrNotFound
	}
	return id, nil
}

func read(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return invalid("text", "the request has more than %d bytes", maxBody)
	case err != nil:
		return invalid("body", "%s", fmt.Sprint("the JSON is not as expected: ", err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("body", "there is more after the end of the JSON")
	}
	return nil
}
