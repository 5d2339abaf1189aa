package kubernetes_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/waooaw/platform-portal/internal/fleet/kubernetes"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/kubernetestest"
)

// modest gives a portal in a namespace of its own, with just the rights that
// docs/runtimes.md lists.
func modest(t *testing.T, c *kubernetestest.Cluster, namespace string) (*kubernetes.Runtime, kubernetes.Config) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "runtimes.md"))
	if err != nil {
		t.Fatal(err)
	}
	role := regexp.MustCompile("(?s)```yaml\n(apiVersion.*?)```").FindSubmatch(text)
	if role == nil {
		t.Fatal("docs/runtimes.md names no rights")
	}
	c.Kubectl(t, "create", "namespace", namespace)
	apply(t, c, strings.ReplaceAll(string(role[1]), "namespace: agents", "namespace: "+namespace))
	c.Kubectl(t, "create", "serviceaccount", "portal", "-n", namespace)
	c.Kubectl(t, "create", "rolebinding", "portal", "-n", namespace, "--role=platform-portal", "--serviceaccount="+namespace+":portal")
	cfg := config(t)
	cfg.Kubeconfig, cfg.Namespace = filepath.Join(t.TempDir(), "kubeconfig"), namespace
	rewrite(t, c, cfg.Kubeconfig, "", c.Kubectl(t, "create", "token", "portal", "-n", namespace))
	return open(t, cfg), cfg
}

// rewrite writes the admin's kubeconfig with another server or token, where they are
// named.
func rewrite(t *testing.T, c *kubernetestest.Cluster, file, server, token string) {
	t.Helper()
	all, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range all.Clusters {
		if server != "" {
			one.Server, one.CertificateAuthority, one.CertificateAuthorityData = server, "", nil
		}
	}
	for _, one := range all.AuthInfos {
		if token != "" {
			one.Token = token
		}
	}
	if err := clientcmd.WriteToFile(*all, file); err != nil {
		t.Fatal(err)
	}
}

// between stands between a portal and the API server.
type between struct {
	mu     sync.Mutex
	server *httptest.Server
	refuse func(w http.ResponseWriter, r *http.Request) bool // answers instead of the server
	asked  []string
}

// set answers from now on what refuse does; all is passed on where it is nil.
func (b *between) set(refuse func(w http.ResponseWriter, r *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = refuse
}

// drop breaks all connections off.
func (b *between) drop() { b.server.CloseClientConnections() }

// count says how many requests were about what the pattern fits.
func (b *between) count(pattern string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.asked {
		if regexp.MustCompile(pattern).MatchString(one) {
			n++
		}
	}
	return n
}

// through gives a portal in a namespace of its own that speaks to the cluster through
// somebody.
func through(t *testing.T, namespace string) (*kubernetes.Runtime, kubernetes.Config, *between) {
	t.Helper()
	c := kubernetestest.Start(t)
	c.Kubectl(t, "create", "namespace", namespace)
	access, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(access)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(access.Host)
	if err != nil {
		t.Fatal(err)
	}
	b := &between{}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport, FlushInterval: -1,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.asked = append(b.asked, r.Method+" "+r.URL.RequestURI())
		refuse := b.refuse
		b.mu.Unlock()
		if refuse == nil || !refuse(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	b.server = server
	t.Cleanup(func() { // watches are still open
		server.CloseClientConnections()
		server.Close()
	})
	cfg := config(t)
	cfg.Namespace, cfg.Kubeconfig = namespace, filepath.Join(t.TempDir(), "kubeconfig")
	rewrite(t, c, cfg.Kubeconfig, server.URL, "")
	return open(t, cfg), cfg, b
}

// status answers as the API server does when it refuses.
func status(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"` + reason + `","message":"` + message + `","code":` + strconv.Itoa(code) + `}`))
}
