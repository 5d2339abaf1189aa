package scrape

import "github.com/waooaw/platform-portal/internal/metrics"

// Read reads a page as a client without limits of its own does.
func Read(body []byte) (metrics.Page, error) { return Client{}.read(body) }
