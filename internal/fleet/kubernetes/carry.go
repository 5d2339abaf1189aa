package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/cargo"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/mirror"
)

var _ fleet.Carrier = (*Runtime)(nil)

const (
	// carryTime bounds how long the content of one volume may take, and carrierTime
	// how long the pod beside it may take to run, for the node may have to get its image.
	carryTime   = 4 * time.Hour
	carrierTime = 5 * time.Minute
	// carrierDir is where that pod has the volume, which no image has.
	carrierDir = "/.portal/volume"
	labelRole  = "platform-portal.io/role"
	// carrierName ends the name of that pod.
	carrierName = "carrier"
)

// Carries implements fleet.Carrier: instances have volumes of their own. It takes the
// portal's program on the cluster, for images of agents may hold no other program.
func (r *Runtime) Carries(ctx context.Context) (apart bool, err error) {
	refuse := func(why, remedy string) error {
		return fault.New(fault.Invalid, "move.no_copy", "The content of volumes can't be carried to or from the cluster").Because("%s", why).Do("%s", remedy).
			At(fault.Field{Path: "copy_data", Message: "must be false for this runtime"})
	}
	if r.cfg.Image == "" {
		return true, refuse("that takes the portal's own program in a pod, and "+r.setting("image")+" names no image of it", "Set "+r.setting("image")+", or move the agent without its data.")
	}
	lasting, err := r.lasting(ctx)
	if err == nil && !lasting {
		err = refuse("volumes end with each run there, as the cluster has no storage for them", "Set kubernetes.storage-class, or move the agent without its data.")
	}
	return true, err
}

// PackVolume implements fleet.Carrier.
func (r *Runtime) PackVolume(ctx context.Context, l fleet.Launch, volume string, w io.Writer) error {
	return r.beside(ctx, l, volume, 0, func(ctx context.Context, pod string) error {
		return r.carry(ctx, pod, "pack", nil, w)
	})
}

// UnpackVolume implements fleet.Carrier.
func (r *Runtime) UnpackVolume(ctx context.Context, l fleet.Launch, volume string, size int64, in io.Reader) error {
	return r.beside(ctx, l, volume, size, func(ctx context.Context, pod string) error {
		return r.carry(ctx, pod, "unpack", in, io.Discard)
	})
}

// beside runs a pod that has nothing but a volume, which has to have so much room,
// and does something there. What a portal before this one left of it is removed.
func (r *Runtime) beside(ctx context.Context, l fleet.Launch, name string, size int64, do func(ctx context.Context, pod string) error) error {
	list, err := r.volumes(l, true)
	if err != nil {
		return err
	}
	var v volume
	for i, one := range list {
		if i == 0 && name == fleet.DataVolume || i > 0 && l.Volumes[i-1].Name == name {
			v = one
		}
	}
	if v.claim == "" {
		return fault.New(fault.NotFound, "volume.not_found", "%s has no volume %s", l.AgentID, name)
	}
	if err := r.claim(ctx, l, v); err != nil {
		return err
	}
	if err := r.roomy(ctx, l, v, size); err != nil {
		return err
	}
	pod := r.carrier(l, v)
	r.carrying.Store(pod.Name, true)
	defer r.carrying.Delete(pod.Name)
	if err := r.dismiss(ctx, pod.Name); err != nil {
		return err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	if _, err := r.api.pods(r.namespace).Create(bounded, pod, meta.CreateOptions{FieldManager: manager}); err != nil {
		return r.refused(ctx, l, err)
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTime)
		defer cancel()
		if err := r.dismiss(late, pod.Name); err != nil {
			r.cfg.Log.Warn("a pod beside a volume is left", "pod", pod.Name, "error", err)
		}
	}()
	if err := r.attend(ctx, l, pod.Name); err != nil {
		return err
	}
	long, end := context.WithTimeout(ctx, carryTime)
	defer end()
	return r.answered(ctx, "carry the content of "+v.claim, do(long, pod.Name))
}

// sweepCarriers removes the pods that a portal which was killed left beside volumes,
// as soon as the cluster answers. Portals with the same mark never work at the same
// time.
func (r *Runtime) sweepCarriers() {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		bounded, cancel := r.bounded(r.ctx)
		list, err := r.api.pods(r.namespace).List(bounded, meta.ListOptions{LabelSelector: labelOwner + "=" + r.cfg.Owner + "," + labelRole + "=" + carrierName})
		if err == nil {
			for _, pod := range list.Items {
				if _, at := r.carrying.Load(pod.Name); at {
					continue // what it takes the place of is gone already
				}
				now := int64(0)
				one := r.api.pods(r.namespace).Delete(bounded, pod.Name, meta.DeleteOptions{GracePeriodSeconds: &now, Preconditions: meta.NewUIDPreconditions(string(pod.UID))})
				if one != nil && !kerrors.IsNotFound(one) && !kerrors.IsConflict(one) {
					err = one
				}
			}
		}
		cancel()
		if err == nil || !mirror.Pause(r.ctx, pause) {
			return
		}
	}
}

// roomy refuses what is larger than a volume.
func (r *Runtime) roomy(ctx context.Context, l fleet.Launch, v volume, size int64) error {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api.claims(r.namespace).Get(bounded, v.claim, meta.GetOptions{})
	if err != nil {
		return r.answered(ctx, "look at the volume "+v.claim, err)
	}
	room := got.Status.Capacity.Storage().Value()
	if room == 0 { // it is made when a pod needs it
		room = got.Spec.Resources.Requests.Storage().Value()
	}
	if size > room {
		return fault.New(fault.Invalid, "volume.small", "The volume %s is too small for what %s holds", v.claim, l.AgentID).
			Because("it has %d MiB, and %d MiB are needed", room>>20, size>>20).Do("Let the specification ask for a larger disk or volume.")
	}
	return nil
}

// carrier describes the pod beside a volume.
func (r *Runtime) carrier(l fleet.Launch, v volume) *corev1.Pod {
	no, yes, user, most, none := false, true, int64(nobody), int64((carryTime + carrierTime).Seconds()), int64(0)
	limits := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi"), corev1.ResourceCPU: resource.MustParse("500m")}
	spec := corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, ActiveDeadlineSeconds: &most, TerminationGracePeriodSeconds: &none,
		AutomountServiceAccountToken: &no, EnableServiceLinks: &no, ServiceAccountName: r.name(l.AgentID, ownObjects),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsUser: &user, RunAsGroup: &user, FSGroup: &user, RunAsNonRoot: &yes,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Volumes: []corev1.Volume{mounted(v)},
		Containers: []corev1.Container{{
			Name: container, Image: r.cfg.Image, Args: []string{"cargo", cargo.Hold}, ImagePullPolicy: corev1.PullIfNotPresent,
			Resources:    corev1.ResourceRequirements{Limits: limits, Requests: corev1.ResourceList{corev1.ResourceMemory: limits[corev1.ResourceMemory], corev1.ResourceCPU: resource.MustParse("50m")}},
			VolumeMounts: []corev1.VolumeMount{{Name: v.name, MountPath: carrierDir}},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Privileged: &no,
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
	if r.cfg.PullSecret != "" {
		spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: r.cfg.PullSecret}}
	}
	// It has not the labels of the agent's pods: it serves nobody.
	labels := map[string]string{labelManager: manager, labelOwner: r.cfg.Owner, labelRole: carrierName}
	return &corev1.Pod{ObjectMeta: meta.ObjectMeta{Name: r.name(l.AgentID, carrierName), Namespace: r.namespace, Labels: labels}, Spec: spec}
}

// dismiss removes the pod of the name if it is ours, and waits until it is gone and
// with it whatever wrote to its volume.
func (r *Runtime) dismiss(ctx context.Context, name string) error {
	patient, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	for now := int64(0); ; {
		bounded, done := r.bounded(ctx)
		got, err := r.api.pods(r.namespace).Get(bounded, name, meta.GetOptions{})
		if err == nil {
			if err = r.owned("pod", got.ObjectMeta); err == nil {
				err = r.api.pods(r.namespace).Delete(bounded, name, meta.DeleteOptions{GracePeriodSeconds: &now, Preconditions: meta.NewUIDPreconditions(string(got.UID))})
			}
		}
		done()
		if kerrors.IsNotFound(err) {
			return nil
		}
		if err != nil && !kerrors.IsConflict(err) {
			return r.answered(ctx, "remove the pod "+name, err)
		}
		if !mirror.Pause(patient, 200*time.Millisecond) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return stuck(name, got)
		}
	}
}

// attend waits until the pod of the name runs.
func (r *Runtime) attend(ctx context.Context, l fleet.Launch, name string) error {
	l.Image = r.cfg.Image
	patient, cancel := context.WithTimeout(ctx, carrierTime)
	defer cancel()
	for {
		bounded, done := r.bounded(ctx)
		pod, err := r.api.pods(r.namespace).Get(bounded, name, meta.GetOptions{})
		done()
		if err != nil {
			return r.answered(ctx, "look at the pod "+name, err)
		}
		if hasRun(pod) && !hasEnded(pod) {
			return nil
		}
		if hasEnded(pod) {
			return fault.New(fault.Invalid, "image.program", "The image %s can't carry the content of volumes", r.cfg.Image).
				Because("%s", endOf(pod).why).Do("Let %s be the image of this version of the portal.", r.setting("image"))
		}
		reason, message := pending(pod)
		if err := r.hopeless(l, reason, message); err != nil {
			return err
		}
		if !mirror.Pause(patient, 200*time.Millisecond) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fault.New(fault.Unavailable, "kubernetes.stuck", "The pod %s does not begin to run", name).
				Because("%s: %s", cmp.Or(reason, "its node makes nothing of it"), cmp.Or(message, "no reason is told")).Do("See its events with kubectl describe.")
		}
	}
}

// carry runs the portal's program once more in the pod, wherever its image has it.
func (r *Runtime) carry(ctx context.Context, pod, what string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, to, said := &supply{in: in}, &drain{out: out, failed: cancel}, &head{}
	streams := remotecommand.StreamOptions{Stdout: to, Stderr: said}
	if in != nil {
		streams.Stdin = from
	}
	address := r.api.ofPod(r.namespace, pod, "exec", &corev1.PodExecOptions{
		Container: container, Command: []string{"/proc/1/exe", "cargo", what, carrierDir}, Stdin: in != nil, Stdout: true, Stderr: true,
	}).URL()
	stream, err := remotecommand.NewWebSocketExecutor(r.rest, "GET", address.String())
	if err != nil {
		return err
	}
	err = stream.StreamWithContext(ctx, streams)
	if err != nil && said.String() != "" {
		err = fmt.Errorf("%s: %w", strings.TrimSpace(said.String()), err)
	}
	return cmp.Or(from.failure(), to.failure(), err)
}

// supply remembers why there is no more to read: to the other side of a stream it is
// the end.
type supply struct {
	in  io.Reader
	mu  sync.Mutex
	err error
}

// Read implements io.Reader.
func (s *supply) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = err
	}
	return n, err
}

func (s *supply) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// drain ends a stream when nobody takes what comes.
type drain struct {
	out    io.Writer
	failed func()
	mu     sync.Mutex
	err    error
}

// Write implements io.Writer.
func (d *drain) Write(p []byte) (int, error) {
	n, err := d.out.Write(p)
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.err = err
		d.failed()
	}
	return n, err
}

func (d *drain) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}
