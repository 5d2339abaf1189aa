package kubernetes

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
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
	if err := corev1.AddToScheme(known); err != nil {
		panic(err) // kinds that contradict each other, which tests would have seen
	}
}

// api speaks to the API server of a cluster.
type api struct{ rest.Interface }

func newAPI(access *rest.Config) (api, error) {
	cfg := *access
	version := corev1.SchemeGroupVersion
	cfg.GroupVersion, cfg.APIPath, cfg.NegotiatedSerializer = &version, "/api", codecs.WithoutConversion()
	c, err := rest.RESTClientFor(&cfg)
	return api{c}, err
}

func (a api) pods(namespace string) *gentype.ClientWithList[*corev1.Pod, *corev1.PodList] {
	return gentype.NewClientWithList[*corev1.Pod, *corev1.PodList]("pods", a, params, namespace,
		func() *corev1.Pod { return &corev1.Pod{} }, func() *corev1.PodList { return &corev1.PodList{} })
}

func (a api) secrets(namespace string) *gentype.ClientWithList[*corev1.Secret, *corev1.SecretList] {
	return gentype.NewClientWithList[*corev1.Secret, *corev1.SecretList]("secrets", a, params, namespace,
		func() *corev1.Secret { return &corev1.Secret{} }, func() *corev1.SecretList { return &corev1.SecretList{} })
}

func (a api) claims(namespace string) *gentype.ClientWithList[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaimList] {
	return gentype.NewClientWithList[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaimList]("persistentvolumeclaims", a, params, namespace,
		func() *corev1.PersistentVolumeClaim { return &corev1.PersistentVolumeClaim{} },
		func() *corev1.PersistentVolumeClaimList { return &corev1.PersistentVolumeClaimList{} })
}

// ofPod asks for what belongs to a pod, "log" or "exec".
func (a api) ofPod(namespace, name, what string, options runtime.Object) *rest.Request {
	return a.Get().Namespace(namespace).Resource("pods").Name(name).SubResource(what).VersionedParams(options, params)
}

// applied writes an object by server-side apply: the fields that it has belong to
// this program from then on.
func applied[T any](ctx context.Context, c interface {
	Patch(context.Context, string, types.PatchType, []byte, meta.PatchOptions, ...string) (T, error)
}, name string, object any) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	force := true
	_, err = c.Patch(ctx, name, types.ApplyPatchType, body, meta.PatchOptions{FieldManager: manager, Force: &force})
	return err
}
