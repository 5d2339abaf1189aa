package kubernetes

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/kubernetes/mirror"
)

// writtenVersion is the name of the fact up to which version the cluster was when the
// environment of a workload had been written. Earlier portals noted that of the
// Secret under it.
const writtenVersion = "secret version"

// facts are what is compared of a workload's template, by the names of fields. No
// value of the environment is among them.
func facts(t *corev1.PodTemplateSpec) map[string]string {
	out := map[string]string{
		"image": "", "command": "", "args": "", "resources.memory": "", "resources.cpu": "", "env": "",
		fleet.FieldReadiness: "", fleet.FieldLiveness: "", fleet.FieldStartup: "",
	}
	var names []string
	for _, c := range slices.Concat(t.Spec.InitContainers, t.Spec.Containers) {
		names = append(names, c.Name)
		if c.Name != container {
			continue
		}
		args, _ := json.Marshal(append([]string{}, c.Args...))
		out["image"], out["command"], out["args"] = c.Image, strings.Join(c.Command, ""), string(args)
		if len(c.Command) > 1 { // this program never makes that
			parts, _ := json.Marshal(c.Command)
			out["command"] = string(parts)
		}
		if q, ok := c.Resources.Limits[corev1.ResourceMemory]; ok {
			out["resources.memory"] = q.String()
		}
		if q, ok := c.Resources.Limits[corev1.ResourceCPU]; ok {
			out["resources.cpu"] = strconv.FormatFloat(q.AsApproximateFloat64(), 'f', -1, 64)
		}
		out["env"] = strings.Join(sources(c), ", ")
		out[fleet.FieldReadiness], out[fleet.FieldLiveness], out[fleet.FieldStartup] = asks(c.ReadinessProbe), asks(c.LivenessProbe), asks(c.StartupProbe)
	}
	out["containers"] = strings.Join(names, ", ")
	return out
}

// sources names what the environment of a container is made of.
func sources(c corev1.Container) (list []string) {
	for _, v := range c.Env {
		list = append(list, v.Name)
	}
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil {
			list = append(list, "all of the Secret "+from.SecretRef.Name)
		}
		if from.ConfigMapRef != nil {
			list = append(list, "all of the ConfigMap "+from.ConfigMapRef.Name)
		}
	}
	return list
}

// asks says how a probe asks; "" for none.
func asks(p *corev1.Probe) string {
	if p == nil {
		return ""
	}
	what := "nothing"
	switch {
	case p.HTTPGet != nil:
		what = "GET " + p.HTTPGet.Host + ":" + p.HTTPGet.Port.String() + cmp.Or(p.HTTPGet.Path, "/")
		if p.HTTPGet.Scheme == corev1.URISchemeHTTPS {
			what += " over TLS"
		}
		if n := len(p.HTTPGet.HTTPHeaders); n > 0 { // which may hold credentials
			what += fmt.Sprintf(" with %d headers", n)
		}
	case p.TCPSocket != nil:
		what = "connect to " + p.TCPSocket.Host + ":" + p.TCPSocket.Port.String()
	case p.GRPC != nil:
		what = "gRPC at :" + strconv.Itoa(int(p.GRPC.Port))
	case p.Exec != nil:
		command, _ := json.Marshal(p.Exec.Command)
		what = "run " + string(command)
	}
	return fmt.Sprintf("%s every %d s after %d s, within %d s; %d failures, %d successes", what, max(1, p.PeriodSeconds), p.InitialDelaySeconds,
		max(1, p.TimeoutSeconds), max(1, p.FailureThreshold), max(1, p.SuccessThreshold))
}

// note writes down what is wanted of a workload, which drift is compared with.
func (w *workload) note(version string) error {
	wanted := facts(&w.template)
	wanted[writtenVersion] = version
	text, err := json.Marshal(wanted)
	w.Annotations[noteWanted] = string(text)
	return err
}

// drift gives what somebody else changed of a workload since it was made.
func (r *Runtime) drift(w *workload) (list []fleet.Difference) {
	var wanted map[string]string
	if json.Unmarshal([]byte(w.Annotations[noteWanted]), &wanted) != nil {
		return nil
	}
	live := facts(&w.template)
	for _, field := range slices.Sorted(maps.Keys(live)) {
		was, noted := wanted[field]
		// Earlier portals left out limits that there were none of, and looked at fewer
		// fields.
		if was == live[field] || !noted && !strings.HasPrefix(field, "resources.") {
			continue
		}
		list = append(list, fleet.Difference{Field: field, Wanted: cmp.Or(was, fleet.Absent), Live: cmp.Or(live[field], fleet.Absent)})
	}
	name := r.name(keyed(w), "env")
	list = append(list, differences("Secret", name, r.secrets, wanted[writtenVersion])...)
	return append(list, differences("ConfigMap", name, r.settings, wanted[writtenVersion])...)
}

// later tells whether a version follows another one. What a watch told may be older
// than what was written.
func later(version, than string) bool {
	a, aerr := strconv.ParseUint(version, 10, 64)
	b, berr := strconv.ParseUint(than, 10, 64)
	return aerr == nil && berr == nil && a > b
}

// atNext is added to what has no effect on what runs.
const atNext = ", with effect at the next start"

// differences gives what somebody else changed of one object of an environment that
// had been written at a version.
func differences(kind, name string, m *mirror.Mirror[*sealed], written string) (list []fleet.Difference) {
	o, ok := m.Get(name)
	switch {
	case !ok && later(m.Reached(), written):
		return []fleet.Difference{{Field: "env", Wanted: "the " + kind + " " + name, Live: fleet.Absent}}
	case ok && o.broken == nil && later(o.ResourceVersion, written):
		return []fleet.Difference{{Field: "env", Wanted: "the " + kind + " as it was written", Live: "changed" + atNext}}
	case !ok || o.broken == nil:
		return nil
	}
	for _, variable := range slices.Sorted(maps.Keys(o.broken)) {
		if len(list) == shownVariables {
			return append(list, fleet.Difference{Field: "env", Wanted: "the " + kind + " as it was written", Live: fmt.Sprintf("changed in %d variables", len(o.broken))})
		}
		d := fleet.Difference{Field: "env." + variable, Wanted: "the value that was written", Live: "another value in the " + kind + atNext}
		switch o.broken[variable] {
		case taken:
			d.Live = fleet.Absent
		case added:
			d.Wanted, d.Live = fleet.Absent, "a value in the "+kind+atNext
		}
		list = append(list, d)
	}
	return list
}

// shownVariables bounds how many variables are named that somebody changed.
const shownVariables = 20

// breach says what somebody did to a variable.
type breach int

const (
	altered breach = iota
	taken
	added
)

// sealed is what is kept of a Secret or ConfigMap: no value of it.
type sealed struct {
	meta.ObjectMeta
	// broken are the variables of which the value is not what this portal wrote; nil
	// where that can't be told.
	broken map[string]breach
}

// seal is a note from which it can be told what was written, by who has the key
// alone. It is as long as there are variables.
type seal struct {
	By     string            `json:"by"` // which key
	Values map[string]string `json:"values"`
}

// sum is a digest of a value of an object.
func (r *Runtime) sum(parts ...string) string {
	mac := hmac.New(sha256.New, r.cfg.Key)
	for _, p := range parts {
		fmt.Fprintf(mac, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// seal gives the note of what an object is written with.
func (r *Runtime) seal(object string, data map[string]string) (string, error) {
	s := seal{By: r.sum("key"), Values: map[string]string{}}
	for name, value := range data {
		s.Values[name] = r.sum(object, name, value)
	}
	text, err := json.Marshal(s)
	return string(text), err
}

// unsealed compares an object with the note of what it was written with.
func (r *Runtime) unsealed(kind string, o meta.ObjectMeta, data map[string]string) *sealed {
	out := &sealed{ObjectMeta: meta.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Annotations: map[string]string{
		noteAgent: o.Annotations[noteAgent],
	}}}
	var s seal
	if json.Unmarshal([]byte(o.Annotations[noteWanted]), &s) != nil || s.By != r.sum("key") {
		return out
	}
	out.broken = map[string]breach{}
	for name, sum := range s.Values {
		if value, ok := data[name]; !ok {
			out.broken[name] = taken
		} else if sum != r.sum(kind+" "+o.Name, name, value) {
			out.broken[name] = altered
		}
	}
	for name := range data {
		if _, ok := s.Values[name]; !ok {
			out.broken[name] = added
		}
	}
	return out
}

// LiveEnv implements fleet.Witness.
func (r *Runtime) LiveEnv(ctx context.Context, agentID, instanceID string) (map[string]*string, error) {
	if _, _, err := r.find(ctx, agentID, instanceID); err != nil {
		return nil, err
	}
	name := r.name(instanceID, "env")
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	settings, err := r.api.configMaps(r.namespace).Get(bounded, name, meta.GetOptions{})
	if err != nil && !kerrors.IsNotFound(err) {
		return nil, r.answered(ctx, "look at the ConfigMap "+name, err)
	}
	secret, err := r.api.secrets(r.namespace).Get(bounded, name, meta.GetOptions{})
	if err != nil && !kerrors.IsNotFound(err) {
		return nil, r.answered(ctx, "look at the secret "+name, err)
	}
	out, hidden := map[string]*string{}, texts(secret)
	for variable := range r.unsealed("ConfigMap", settings.ObjectMeta, settings.Data).broken {
		out[variable] = valueIn(settings.Data, variable)
	}
	broken := r.unsealed("Secret", secret.ObjectMeta, hidden).broken
	for variable := range broken {
		if value := valueIn(hidden, variable); value != nil || out[variable] == nil {
			out[variable] = value
		}
	}
	for variable := range hidden { // which takes precedence
		if _, changed := broken[variable]; !changed {
			delete(out, variable)
		}
	}
	return out, nil
}

func valueIn(data map[string]string, name string) *string {
	if value, ok := data[name]; ok {
		return &value
	}
	return nil
}

// texts gives the values of a Secret.
func texts(s *corev1.Secret) map[string]string {
	out := map[string]string{}
	for name, value := range s.Data {
		out[name] = string(value)
	}
	return out
}

// compare begins to watch the objects of environments.
func (r *Runtime) compare() {
	of := func() *mirror.Mirror[*sealed] { // nobody waits for them
		m := mirror.New(&mirror.Bell{}, keyed[*sealed])
		m.Changed = func(s *sealed, _ bool) { r.changed(s) }
		return m
	}
	r.secrets, r.settings = of(), of()
	follow(r, r.secrets, source[*corev1.Secret, *corev1.SecretList](r.api.secrets(r.namespace), func(s *corev1.Secret) *sealed { return r.unsealed("Secret", s.ObjectMeta, texts(s)) }))
	r.settings.Selector, r.settings.Timeout = r.mine(""), r.cfg.Timeout
	from := source[*corev1.ConfigMap, *corev1.ConfigMapList](r.api.configMaps(r.namespace), func(c *corev1.ConfigMap) *sealed {
		return r.unsealed("ConfigMap", c.ObjectMeta, c.Data)
	})
	r.tasks.Go(func() { r.settings.Follow(r.ctx, from) }) // rights of earlier portals do not allow it
}

// comparing says whether it is seen what others change.
func (r *Runtime) comparing() fleet.Check {
	c := fleet.Check{Name: "foreign_changes", OK: true, How: "workloads, secrets and ConfigMaps are watched"}
	if err := r.settings.Heard(); err != nil {
		c = fleet.Check{
			Name: c.Name, Why: brief(err),
			Remedy: "Give the portal's account the right to list and watch configmaps in the namespace " + r.namespace + ". Until then it is not seen who changes or removes them.",
		}
	}
	return c
}
