package agent_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
)

func TestAddressesOfInstances(t *testing.T) {
	for host, want := range map[string]string{"": "127.0.0.1:80", "10.1.2.3": "10.1.2.3:80", "fd00::7": "[fd00::7]:80"} {
		if got, err := agent.Address(host, 80); err != nil || got != want {
			t.Errorf("%q gives %q, %v", host, got, err)
		}
	}
	for _, host := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254", "fe80::1", "fd00::7%eth0", "224.0.0.1", "255.255.255.255", "localhost", "example.com", "10.1.2.3:22", "10.1.2.3/x"} {
		if got, err := agent.Address(host, 80); err == nil {
			t.Errorf("%q gives %q", host, got)
		}
	}
}
