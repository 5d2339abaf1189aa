package fleet

import "strconv"

// InstanceID names the instance of an agent's revision with the given index.
// It is the same each time, so that launching twice finds the first.
func InstanceID(agentID string, revision, index int) string {
	return agentID + "-r" + strconv.Itoa(revision) + "-" + strconv.Itoa(index)
}
