package upkeep

import "strings"

// Setting gives the name of a setting of a runtime in the configuration. Those of
// places stand below their names.
func Setting(runtime, name string) string {
	if strings.Contains(runtime, "/") {
		return "places." + runtime + "." + name
	}
	return runtime + "." + name
}

// Called gives what people are told of the engine of a runtime: what it is, and
// which one where there may be several.
func Called(what, runtime string) string {
	if strings.Contains(runtime, "/") {
		return what + " of " + runtime
	}
	return what
}
