package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
)

// known holds the kinds that this program speaks of. The client's own scheme holds
// every kind there is, which is 20 MB of program.
var (
	known  = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(known)
	params = runtime.NewParameterCodec(known)
)

func init() {
	meta.AddToGroupVersion(known, meta.SchemeGroupVersion)
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme} {
		if err := add(known); err != nil {
			panic(err) // kinds that contradict each other, which tests would have seen
		}
	}
}

// api speaks to the API server of a cluster: itself of the core group, by its
// fields of others.
type api struct {
	rest.Interface
	apps, batch rest.Interface
}

func newAPI(access *rest.Config) (api, error) {
	cfg := *access
	// All groups share connections, and the bound of what is asked at once.
	cfg.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(cfg.QPS, cfg.Burst)
	connections, err := rest.HTTPClientFor(&cfg)
	if err != nil {
		return api{}, err
	}
	group := func(path string, version schema.GroupVersion) rest.Interface {
		own := cfg
		own.GroupVersion, own.APIPath, own.NegotiatedSerializer = &version, path, codecs.WithoutConversion()
		c, cerr := rest.RESTClientForConfigAndClient(&own, connections)
		err = errors.Join(err, cerr)
		return c
	}
	a := api{
		Interface: group("/api", corev1.SchemeGroupVersion), apps: group("/apis", appsv1.SchemeGroupVersion), batch: group("/apis", batchv1.SchemeGroupVersion),
	}
	return a, err
}

func (a api) pods(namespace string) *gentype.ClientWithList[*corev1.Pod, *corev1.PodList] {
	return gentype.NewClientWithList[*corev1.Pod, *corev1.PodList]("pods", a, params, namespace,
		func() *corev1.Pod { return &corev1.Pod{} }, func() *corev1.PodList { return &corev1.PodList{} })
}

func (a api) secrets(namespace string) *gentype.ClientWithList[*corev1.Secret, *corev1.SecretList] {
	return gentype.NewClientWithList[*corev1.Secret, *corev1.SecretList]("secrets", a, params, namespace,
		func() *corev1.Secret { return &corev1.Secret{} }, func() *corev1.SecretList { return &corev1.SecretList{} })
}

func (a api) configMaps(namespace string) *gentype.ClientWithList[*corev1.ConfigMap, *corev1.ConfigMapList] {
	return gentype.NewClientWithList[*corev1.ConfigMap, *corev1.ConfigMapList]("configmaps", a, params, namespace,
		func() *corev1.ConfigMap { return &corev1.ConfigMap{} }, func() *corev1.ConfigMapList { return &corev1.ConfigMapList{} })
}

func (a api) events(namespace string) *gentype.ClientWithList[*corev1.Event, *corev1.EventList] {
	return gentype.NewClientWithList[*corev1.Event, *corev1.EventList]("events", a, params, namespace,
		func() *corev1.Event { return &corev1.Event{} }, func() *corev1.EventList { return &corev1.EventList{} })
}

func (a api) claims(namespace string) *gentype.ClientWithList[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaimList] {
	return gentype.NewClientWithList[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaimList]("persistentvolumeclaims", a, params, namespace,
		func() *corev1.PersistentVolumeClaim { return &corev1.PersistentVolumeClaim{} },
		func() *corev1.PersistentVolumeClaimList { return &corev1.PersistentVolumeClaimList{} })
}

func (a api) deployments(namespace string) *gentype.ClientWithList[*appsv1.Deployment, *appsv1.DeploymentList] {
	return gentype.NewClientWithList[*appsv1.Deployment, *appsv1.DeploymentList]("deployments", a.apps, params, namespace,
		func() *appsv1.Deployment { return &appsv1.Deployment{} }, func() *appsv1.DeploymentList { return &appsv1.DeploymentList{} })
}

func (a api) statefulSets(namespace string) *gentype.ClientWithList[*appsv1.StatefulSet, *appsv1.StatefulSetList] {
	return gentype.NewClientWithList[*appsv1.StatefulSet, *appsv1.StatefulSetList]("statefulsets", a.apps, params, namespace,
		func() *appsv1.StatefulSet { return &appsv1.StatefulSet{} }, func() *appsv1.StatefulSetList { return &appsv1.StatefulSetList{} })
}

func (a api) jobs(namespace string) *gentype.ClientWithList[*batchv1.Job, *batchv1.JobList] {
	return gentype.NewClientWithList[*batchv1.Job, *batchv1.JobList]("jobs", a.batch, params, namespace,
		func() *batchv1.Job { return &batchv1.Job{} }, func() *batchv1.JobList { return &batchv1.JobList{} })
}

// ofPod asks for what belongs to a pod, "log" or "exec".
func (a api) ofPod(namespace, name, what string, options runtime.Object) *rest.Request {
	return a.Get().Namespace(namespace).Resource("pods").Name(name).SubResource(what).VersionedParams(options, params)
}

// applied writes an object by server-side apply: the fields that it has belong to
// this program from then on.
func applied[T any](ctx context.Context, c interface {
	Patch(context.Context, string, types.PatchType, []byte, meta.PatchOptions, ...string) (T, error)
}, name string, object any) (made T, err error) {
	body, err := json.Marshal(object)
	if err != nil {
		return made, err
	}
	force := true
	return c.Patch(ctx, name, types.ApplyPatchType, body, meta.PatchOptions{FieldManager: manager, Force: &force})
}

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
	// The API server itself says who has to wait (priority and fairness); this only keeps
	// a portal that starts a thousand agents from being all that it does.
	access.QPS, access.Burst = 150, 300
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
