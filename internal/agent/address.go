package agent

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Address gives where an instance listens, as HOST:PORT: on this machine where its
// runtime names no host. Whatever is not the address of one other machine is
// refused, so that nothing leads questions to instances anywhere else.
func Address(host string, port int) (string, error) {
	if port < 1 || port > 65535 {
		return "", fmt.Errorf("%d is not a port", port)
	}
	if host == "" {
		host = "127.0.0.1"
	} else if ip, err := netip.ParseAddr(host); err != nil || ip.Zone() != "" || !ip.Unmap().IsGlobalUnicast() {
		return "", fmt.Errorf("%.100q is not the address of an instance", host)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}
