package auth

import (
	"context"
	"strings"
	"unicode"
)

// Client is what a request says of where it comes from.
type Client struct {
	Address   string // without port
	UserAgent string
	// Device is the secret that a browser got when somebody signed in with it; see
	// Service.Device.
	Device string
}

type clientKey struct{}

// maxUserAgent is how much of a User-Agent is kept, in bytes.
const maxUserAgent = 256

// WithClient puts into the context where the request comes from.
func WithClient(ctx context.Context, c Client) context.Context {
	c.UserAgent = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(c.UserAgent[:min(len(c.UserAgent), maxUserAgent)], ""))
	return context.WithValue(ctx, clientKey{}, c)
}

// ClientFrom gives where the request comes from; empty if the context does not say.
func ClientFrom(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	return c
}
