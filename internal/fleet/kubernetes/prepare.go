package kubernetes

import (
	"context"
	"encoding/json"
	"time"

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
	lasting, err := r.lasting(ctx)
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
				Because("the cluster runs images only, and %s names none that is the portal's program", r.setting("image")).
				Do("Set %s to an image of this portal, with the program as its entry point, that the cluster can pull, or use the runtime process.", r.setting("image"))
		}
		l.Image, l.Command = r.cfg.Image, "" // its entry point is the program
	}
	if l.Image == "" {
		return fault.New(fault.Invalid, "image.missing", "%s names no image", l.AgentID).
			Because("the runtime kubernetes runs commands in images").Do("Give the agent an image, or the runtime process.")
	}
	return nil
}

// storageFresh is for how long an answer about storage classes holds. Each start asks
// several times, and hundreds of agents may start at once.
const storageFresh = 10 * time.Second

// lasting is what storage told a moment ago, or tells now.
func (r *Runtime) lasting(ctx context.Context) (bool, error) {
	r.mu.Lock()
	last := r.classes
	r.mu.Unlock()
	if time.Since(last.at) < storageFresh {
		return last.lasting, nil
	}
	lasting, err := r.storage(ctx)
	if err == nil {
		r.mu.Lock()
		r.classes = storageAnswer{lasting: lasting, at: time.Now()}
		r.mu.Unlock()
	}
	return lasting, err
}

// storageAnswer is whether volumes outlive pods, and when the cluster said so.
type storageAnswer struct {
	lasting bool
	at      time.Time
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
// program decides, which a whole object with its empty fields is not. Further
// annotations follow, each with its value after its name.
func (r *Runtime) described(kind, name, agentID string, rest map[string]any, further ...string) map[string]any {
	notes := map[string]string{noteAgent: agentID}
	for i := 0; i+1 < len(further); i += 2 {
		notes[further[i]] = further[i+1]
	}
	rest["apiVersion"], rest["kind"] = corev1.SchemeGroupVersion.String(), kind
	rest["metadata"] = map[string]any{"name": name, "namespace": r.namespace, "labels": r.labels(agentID), "annotations": notes}
	return rest
}

// secret keeps the environment of an instance apart from its pod: what may be a
// secret in a Secret, the rest in a ConfigMap. The version is the later one of both.
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
	seal, err := r.seal("ConfigMap "+name, open)
	if err != nil {
		return "", err
	}
	version, err = r.around.Configure(bounded, l.AgentID, name, open, map[string]string{noteWanted: seal})
	if err != nil {
		return "", r.refused(ctx, l, err)
	}
	if seal, err = r.seal("Secret "+name, hidden); err != nil {
		return "", err
	}
	object := r.described("Secret", name, l.AgentID, map[string]any{"stringData": hidden}, noteWanted, seal)
	made, err := applied(bounded, secrets, name, object)
	if err != nil {
		return "", r.refused(ctx, l, err)
	}
	if later(made.ResourceVersion, version) {
		version = made.ResourceVersion
	}
	return version, nil
}

// owned refuses an object of somebody else.
func (r *Runtime) owned(what string, o meta.ObjectMeta) error {
	if o.Labels[labelOwner] == r.cfg.Owner {
		return nil
	}
	return fault.New(fault.Conflict, "kubernetes.name_taken", "The %s %s in the namespace %s belongs to somebody else", what, o.Name, o.Namespace).
		Because("it does not have this portal's labels").Do("Remove or rename it on the cluster.")
}
