package httpapi

import "net/http"

// Registered gives the patterns of all routes that are registered.
func Registered() []string {
	var out []string
	for p := range newServer(Config{}).routes {
		out = append(out, p)
	}
	return out
}

// RegisterForTest registers a handler under the pattern.
func RegisterForTest(pattern string) {
	router{newServer(Config{})}.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
}
