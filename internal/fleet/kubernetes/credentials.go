package kubernetes

import (
	"os"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ownNamespace is where a pod finds the name of its namespace.
const ownNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// credentials gives how the cluster is reached, and the namespace to work in.
func credentials(cfg Config) (*rest.Config, string, error) {
	var (
		access    *rest.Config
		namespace string
		err       error
	)
	if cfg.Kubeconfig == InCluster {
		access, err = rest.InClusterConfig()
		namespace = podNamespace()
	} else {
		file := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: cfg.Kubeconfig}, &clientcmd.ConfigOverrides{CurrentContext: cfg.Context})
		if access, err = file.ClientConfig(); err == nil {
			namespace, _, err = file.Namespace()
		}
	}
	if err != nil {
		return nil, "", unusable(cfg, err)
	}
	if cfg.Namespace != "" {
		namespace = cfg.Namespace
	}
	if namespace == "" {
		namespace = "default"
	}
	access.UserAgent = manager
	access.QPS, access.Burst = 50, 100
	return access, namespace, nil
}

// podNamespace is that of the pod that this program runs in; "" if it runs in none.
func podNamespace() string {
	b, err := os.ReadFile(ownNamespace)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
