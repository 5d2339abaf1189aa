//go:build tools

// Package victorialogs pins a real VictoriaLogs server for tests. It is a module
// of its own so that the portal does not depend on what the server depends on;
// scripts/victorialogs.sh builds it.
package victorialogs

import _ "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs"
