package kubernetes

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// claimSize is how big a volume is of which nobody says it.
const claimSize = 1 << 30

// Prepare implements fleet.Runtime. The cluster says whether it would take the
// pod; whether its program is in the image shows when it is launched.
func (r *Runtime) Prepare(ctx context.Context, l fleet.Launch) error {
	w, err := r.prepare(ctx, &l, "")
	if err != nil {
		return err
	}
	return r.taken(ctx, l, w)
}

// taken asks the cluster whether it would take the pod of a workload, for it says
// nothing about that when the workload is made.
func (r *Runtime) taken(ctx context.Context, l fleet.Launch, w *workload) error {
	pod := &corev1.Pod{ObjectMeta: *w.template.ObjectMeta.DeepCopy(), Spec: w.template.Spec}
	pod.GenerateName = w.Name + "-"
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	_, err := r.api.pods(r.namespace).Create(bounded, pod, meta.CreateOptions{DryRun: []string{meta.DryRunAll}, FieldManager: manager})
	return r.refused(ctx, l, err)
}

// prepare makes the volumes, and gives the workload.
func (r *Runtime) prepare(ctx context.Context, l *fleet.Launch, launch string) (*workload, error) {
	if err := upkeep.CheckIDs(l.AgentID); err != nil {
		return nil, err
	}
	if err := r.image(l); err != nil {
		return nil, err
	}
	if err := r.surround(ctx, *l); err != nil {
		return nil, err
	}
	lasting, err := r.storage(ctx)
	if err != nil {
		return nil, err
	}
	volumes, err := r.volumes(*l, lasting)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		if err := r.claim(ctx, *l, v); err != nil {
			return nil, err
		}
	}
	return r.object(*l, volumes, launch)
}

// image finds the image of built-in agents.
func (r *Runtime) image(l *fleet.Launch) error {
	if l.Image == "" && l.Command != "" && l.Command == r.cfg.Self {
		if r.cfg.Image == "" {
			return fault.New(fault.Invalid, "image.missing", "There is no image for the built-in agent %s", l.AgentID).
				Because("the cluster runs images only, and kubernetes.image names none that is the portal's program").
				Do("Set kubernetes.image to an image of this portal, with the program as its entry point, that the cluster can pull, or use the runtime process.")
		}
		l.Image, l.Command = r.cfg.Image, "" // its entry point is the program
	}
	if l.Image == "" {
		return fault.New(fault.Invalid, "image.missing", "%s names no image", l.AgentID).
			Because("the runtime kubernetes runs commands in images").Do("Give the agent an image, or the runtime process.")
	}
	return nil
}

// storage tells whether volumes outlive pods here: whether the cluster makes them.
func (r *Runtime) storage(ctx context.Context) (bool, error) {
	if r.cfg.StorageClass != "" {
		return true, nil
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	body, err := r.api.Get().AbsPath("/apis/storage.k8s.io/v1/storageclasses").SetHeader("Accept", "application/json").DoRaw(bounded)
	if kerrors.IsForbidden(err) || kerrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, r.answered(ctx, "list storage classes", err)
	}
	var list struct {
		Items []meta.PartialObjectMetadata `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return false, r.answered(ctx, "list storage classes", err)
	}
	for _, c := range list.Items {
		if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
			return true, nil
		}
	}
	return false, nil
}

// claim makes a volume that outlives pods, if it is not there.
func (r *Runtime) claim(ctx context.Context, l fleet.Launch, v volume) error {
	if v.claim == "" {
		return nil
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	claims := r.api.claims(r.namespace)
	got, err := claims.Get(bounded, v.claim, meta.GetOptions{})
	if err == nil {
		return r.owned("volume", got.ObjectMeta)
	}
	if !kerrors.IsNotFound(err) {
		return r.answered(ctx, "look at the volume "+v.claim, err)
	}
	size := v.size
	if size <= 0 {
		size = claimSize
	}
	wanted := map[string]any{
		"accessModes": []string{string(corev1.ReadWriteOnce)},
		"resources":   map[string]any{"requests": map[string]any{"storage": resource.NewQuantity(size, resource.BinarySI)}},
	}
	if r.cfg.StorageClass != "" {
		wanted["storageClassName"] = r.cfg.StorageClass
	}
	_, err = applied(bounded, claims, v.claim, r.described("PersistentVolumeClaim", v.claim, l.AgentID, map[string]any{"spec": wanted}))
	return r.refused(ctx, l, err)
}

// described is an object of an agent as it is applied: nothing but what this
// program decides, which a whole object with its empty fields is not.
func (r *Runtime) described(kind, name, agentID string, rest map[string]any) map[string]any {
	rest["apiVersion"], rest["kind"] = corev1.SchemeGroupVersion.String(), kind
	rest["metadata"] = map[string]any{
		"name": name, "namespace": r.namespace, "labels": r.labels(agentID), "annotations": map[string]string{noteAgent: agentID},
	}
	return rest
}

// secret keeps the environment of an instance apart from its pod: what may be a
// secret in a Secret, of which the version is given, the rest in a ConfigMap.
func (r *Runtime) secret(ctx context.Context, l fleet.Launch) (version string, err error) {
	name := r.name(l.InstanceID, "env")
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	secrets := r.api.secrets(r.namespace)
	got, err := secrets.Get(bounded, name, meta.GetOptions{})
	switch {
	case err == nil:
		if err := r.owned("secret", got.ObjectMeta); err != nil {
			return "", err
		}
	case !kerrors.IsNotFound(err):
		return "", r.answered(ctx, "look at the secret "+name, err)
	}
	open, hidden := r.environ(l)
	if err := r.refused(ctx, l, r.around.Configure(bounded, l.AgentID, name, open)); err != nil {
		return "", err
	}
	made, err := applied(bounded, secrets, name, r.described("Secret", name, l.AgentID, map[string]any{"stringData": hidden}))
	if err != nil {
		return "", r.refused(ctx, l, err)
	}
	return made.ResourceVersion, nil
}

// owned refuses an object of somebody else.
func (r *Runtime) owned(what string, o meta.ObjectMeta) error {
	if o.Labels[labelOwner] == r.cfg.Owner {
		return nil
	}
	return fault.New(fault.Conflict, "kubernetes.name_taken", "The %s %s in the namespace %s belongs to somebody else", what, o.Name, o.Namespace).
		Because("it does not have this portal's labels").Do("Remove or rename it on the cluster.")
}
