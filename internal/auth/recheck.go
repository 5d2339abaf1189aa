package auth

import "context"

type recheckKey struct{}

// WithRecheck puts into the context how to ask again whether the credentials
// behind it are still good. Long-lived connections use it.
func WithRecheck(ctx context.Context, again func(ctx context.Context) (Principal, error)) context.Context {
	return context.WithValue(ctx, recheckKey{}, again)
}

// Recheck gives the principal as it is now; Unauthenticated if its token was
// revoked, or its token or session has ended. Without a way to ask, the
// principal is as it was.
func Recheck(ctx context.Context) (Principal, error) {
	if again, ok := ctx.Value(recheckKey{}).(func(context.Context) (Principal, error)); ok {
		return again(ctx)
	}
	return From(ctx), nil
}
