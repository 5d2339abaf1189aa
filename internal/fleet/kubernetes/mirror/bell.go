package mirror

import (
	"context"
	"sync"
)

// Bell wakes those who wait for a change of what has a key. The zero value is
// ready.
type Bell struct {
	mu    sync.Mutex
	moved map[string]chan struct{}
}

// Next gives what is closed at the next change of the key; that of "" at every one.
func (b *Bell) Next(key string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.moved == nil {
		b.moved = map[string]chan struct{}{}
	}
	c := b.moved[key]
	if c == nil {
		c = make(chan struct{})
		b.moved[key] = c
	}
	return c
}

// Await waits until done is content, which it is asked after each change of the
// key, or gives the error of ctx.
func (b *Bell) Await(ctx context.Context, key string, done func() bool) error {
	for {
		moved := b.Next(key)
		if done() {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *Bell) ring(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range []string{key, ""} {
		if c := b.moved[k]; c != nil {
			close(c)
			delete(b.moved, k)
		}
	}
}

func (b *Bell) ringAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, c := range b.moved {
		close(c)
		delete(b.moved, k)
	}
}
