// Command pause does nothing until it is told to end. It is the first process of each
// pod in the cluster of the tests, and holds the namespaces that the others share.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM)
	<-told
}
