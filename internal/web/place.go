package web

import (
	"context"
	"net/http"
	"strconv"
)

type placeKey struct{}

// placed notes where the stream of events is before anything is read, so that
// the page hears of all that happens after.
func (s *Server) placed(r *http.Request) *http.Request {
	if s.cfg.Place == nil {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), placeKey{}, s.cfg.Place()))
}

// placeOf gives what placed noted; "" for nothing.
func placeOf(ctx context.Context) string {
	if n, ok := ctx.Value(placeKey{}).(int64); ok {
		return strconv.FormatInt(n, 10)
	}
	return ""
}
