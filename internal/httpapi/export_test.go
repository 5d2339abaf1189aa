package httpapi

import "net/http"

// Registered gives the patterns of all routes that are registered.
func Registered() []string { return newServer(Config{}).Registered() }

// RegisterForTest registers a handler for the route with the id.
func RegisterForTest(id string) {
	newServer(Config{}).Raw(id, func(http.ResponseWriter, *http.Request) error { return nil })
}
