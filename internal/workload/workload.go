// Package workload reads the Deployments and StatefulSets of a Kubernetes
// namespace as specifications of agents. What a specification can't say is named,
// workload by workload and field by field.
package workload

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/adoption"
	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// owned is the label of everything that a portal made itself.
const owned = "platform-portal.io/owner"

// workload is one Deployment or StatefulSet on its way to a specification.
type workload struct {
	*adoption.Draft
	pod       map[string]any // spec of its pods
	container map[string]any
	claims    []any // templates of claims
}

// Read makes specifications of the workloads, which are objects as the API server
// gives them, for the runtime that they are to have. Invalid if none can become an
// agent.
func Read(objects []map[string]any, runtime string) (*adoption.Plan, error) {
	p := &adoption.Plan{Docs: []map[string]any{}, Notes: []adoption.Note{}}
	objects = slices.Clone(objects)
	slices.SortFunc(objects, func(x, y map[string]any) int {
		return cmp.Or(strings.Compare(text(tree(x["metadata"])["name"]), text(tree(y["metadata"])["name"])), strings.Compare(text(x["kind"]), text(y["kind"])))
	})
	taken := map[string]bool{}
	for _, o := range objects {
		read(p, o, runtime, taken)
	}
	p.Sort()
	if len(p.Docs) > 0 {
		return p, nil
	}
	f := fault.New(fault.Invalid, "workload.none", "The namespace has no workload that can become an agent")
	for _, n := range p.Notes[:min(len(p.Notes), 100)] {
		f = f.At(fault.Field{Path: n.Path, Message: n.Text})
	}
	return nil, f.Do("Name a namespace with a Deployment or a StatefulSet.")
}

func read(p *adoption.Plan, object map[string]any, runtime string, taken map[string]bool) {
	about := tree(object["metadata"])
	kind, name := text(object["kind"]), text(about["name"])
	path := strings.ToLower(kind) + "/" + name
	if _, ok := tree(about["labels"])[owned]; ok {
		p.Note(path, false, "was made by a portal and is left out")
		return
	}
	w := &workload{Draft: &adoption.Draft{
		Plan: p, Path: path, Left: maps.Clone(tree(object["spec"])), Refusals: refusals,
		Doc: map[string]any{"name": name, "runtime": runtime, "restart": map[string]any{"policy": "always"}},
	}}
	if taken[name] {
		w.Doc["name"] = name + "-" + strings.ToLower(kind)
		w.Note("metadata.name", false, "is that of another workload as well; the agent is called %s", w.Doc["name"])
	}
	notes := len(p.Notes)
	if !w.convert(about) {
		return
	}
	if _, _, err := agent.Decode(w.Doc, agent.Strict); err != nil {
		p.Notes = p.Notes[:notes]
		w.refuse(err)
		return
	}
	taken[name] = true
	p.Docs = append(p.Docs, w.Doc)
	w.Note("spec", false, "goes on as it is; scale it to 0 before the agent is started if only one of both may work")
}

// refuse says why the workload can't become an agent.
func (w *workload) refuse(err error) {
	f := fault.As(err)
	if f == nil || len(f.Fields) == 0 {
		w.Note("spec", true, "is no specification of an agent, and the workload is left out: %s", err.Error())
		return
	}
	for _, field := range f.Fields {
		w.Note("spec", true, "makes no agent, and the workload is left out: its %s %s", field.Path, field.Message)
	}
}

// convert fills the document; false if the workload can't become an agent.
func (w *workload) convert(about map[string]any) bool {
	template := tree(w.Take("template"))
	w.pod = maps.Clone(tree(template["spec"]))
	w.claims, _ = w.Take("volumeClaimTemplates").([]any)
	if !w.choose() {
		return false
	}
	image := text(take(w.container, "image"))
	if image == "" {
		w.Note("containers."+text(w.container["name"])+".image", true, "is missing; the workload is left out")
		return false
	}
	w.Doc["image"] = image
	w.commands()
	w.environment()
	w.ports()
	w.volumes()
	w.probes()
	w.resources()
	w.settings(about)
	labels := tree(about["labels"])
	if len(labels) > 0 {
		w.Doc["labels"] = labels
	}
	for key := range tree(tree(template["metadata"])["annotations"]) {
		w.Note("template.metadata.annotations."+key, true, "is left out: pods are the portal's own")
	}
	w.Rest("containers."+text(take(w.container, "name"))+".", w.container)
	w.Rest("template.spec.", w.pod)
	w.Rest("spec.", w.Left)
	return true
}

// choose takes the container that becomes the agent, and names the others.
func (w *workload) choose() bool {
	list, _ := take(w.pod, "containers").([]any)
	for i, c := range list {
		if i == 0 {
			w.container = maps.Clone(tree(c))
			continue
		}
		w.Note("containers."+text(tree(c)["name"]), true, "is left out: an agent is one container, and the first becomes it")
	}
	inits, _ := take(w.pod, "initContainers").([]any)
	for _, c := range inits {
		w.Note("initContainers."+text(tree(c)["name"]), true, "is left out: nothing runs before an agent; do it in its image")
	}
	if w.container == nil {
		w.Note("containers", true, "are missing; the workload is left out")
	}
	return w.container != nil
}

func (w *workload) commands() {
	command, _ := take(w.container, "command").([]any)
	args, _ := take(w.container, "args").([]any)
	if len(command) > 0 {
		w.Doc["command"] = command[0]
		args = append(slices.Clone(command[1:]), args...)
	}
	if len(args) > 0 {
		w.Doc["args"] = args
	}
}

func (w *workload) environment() {
	list, _ := take(w.container, "env").([]any)
	for _, e := range list {
		v := tree(e)
		name := text(v["name"])
		field, from := "env."+name, tree(v["valueFrom"])
		switch secret, config := tree(from["secretKeyRef"]), tree(from["configMapKeyRef"]); {
		case secret != nil:
			w.Note(field, true, "comes from %s of the Secret %s, which is not read; put it into the portal's secrets directory and name it in secrets, as %s: file:NAME", text(secret["key"]), text(secret["name"]), name)
		case config != nil:
			w.Note(field, true, "comes from %s of the ConfigMap %s, which is not read; put its value into env", text(config["key"]), text(config["name"]))
		case len(from) > 0:
			w.Note(field, true, "comes from %s, which agents can't ask for", brief(slices.Sorted(maps.Keys(from))))
		default:
			w.Variable(field, name, text(v["value"]))
		}
	}
	sources, _ := take(w.container, "envFrom").([]any)
	for _, e := range sources {
		for kind, ref := range tree(e) {
			if name := text(tree(ref)["name"]); name != "" {
				w.Note("envFrom."+name, true, "is not read (%s); put its values into env, or into the portal's secrets directory", strings.TrimSuffix(kind, "Ref"))
			}
		}
	}
}

func brief(list []string) string { return strings.Join(list, ", ") }

func (w *workload) ports() {
	list, _ := w.container["ports"].([]any)
	var out []any
	for i, e := range list {
		p := tree(e)
		n, field := whole(p["containerPort"]), fmt.Sprintf("ports[%d]", i)
		if protocol := text(p["protocol"]); protocol != "" && protocol != "TCP" {
			w.Note(field, true, "%d/%s is left out: only TCP is served", n, protocol)
			continue
		}
		if p["hostPort"] != nil || p["hostIP"] != nil {
			w.Note(field, true, "is not bound on the node: instances get nothing of it")
		}
		out = append(out, map[string]any{"name": cmp.Or(text(p["name"]), "port-"+strconv.Itoa(n)), "port": n})
	}
	if len(out) > 0 {
		w.Doc["ports"] = out
	}
}

// whole reads a number of a document.
func whole(v any) int {
	n, err := strconv.ParseFloat(text(v), 64)
	if err != nil {
		return 0
	}
	return int(n)
}

// number gives the port that a probe names, by number or by name; 0 if there is none.
func (w *workload) number(ref any) int {
	if n := whole(ref); n > 0 {
		return n
	}
	list, _ := w.container["ports"].([]any)
	for _, e := range list {
		if p := tree(e); text(p["name"]) == text(ref) {
			return whole(p["containerPort"])
		}
	}
	return 0
}

// settings are those of the pods and of the workload that have a place of their own.
func (w *workload) settings(about map[string]any) {
	delete(w.container, "ports")
	if n := whole(take(w.pod, "terminationGracePeriodSeconds")); n > 0 {
		w.Doc["stop_timeout"] = (time.Duration(n) * time.Second).String()
	}
	replicas := w.Take("replicas")
	if n := whole(replicas); n > 0 {
		w.Doc["replicas"] = n
	} else if replicas != nil {
		w.Note("spec.replicas", true, "an agent has at least one replica; it does not run before it is started")
	}
	for _, usual := range []struct {
		of  map[string]any
		all map[string]string
	}{{w.container, usualOfContainers}, {w.pod, usualOfPods}, {w.Left, usualOfWorkloads}} {
		for key, value := range usual.all {
			if v := text(usual.of[key]); value == "" || v == value || v == "map[]" {
				delete(usual.of, key)
			}
		}
	}
	owners, _ := about["ownerReferences"].([]any)
	for _, o := range owners {
		w.Note("metadata.ownerReferences", false, "it belongs to the %s %s, which may change it or make it again", text(tree(o)["kind"]), text(tree(o)["name"]))
	}
	for key := range tree(about["annotations"]) {
		if !strings.HasPrefix(key, "kubectl.kubernetes.io/") && !strings.HasPrefix(key, "deployment.kubernetes.io/") {
			w.Note("metadata.annotations."+key, true, "is left out: agents have labels only")
		}
	}
}

// What stands in every object, or says what is so anyway; "" whatever its value is.
var (
	usualOfContainers = map[string]string{"terminationMessagePath": "", "terminationMessagePolicy": "", "imagePullPolicy": "IfNotPresent", "securityContext": "map[]", "resources": "map[]"}
	usualOfPods       = map[string]string{
		"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "securityContext": "map[]",
		"automountServiceAccountToken": "false", "enableServiceLinks": "false",
	}
	usualOfWorkloads = map[string]string{
		"selector": "", "revisionHistoryLimit": "10", "progressDeadlineSeconds": "600", "podManagementPolicy": "OrderedReady", "strategy": "map[rollingUpdate:map[maxSurge:25% maxUnavailable:25%] type:RollingUpdate]",
		"updateStrategy":                       "map[rollingUpdate:map[partition:0] type:RollingUpdate]",
		"persistentVolumeClaimRetentionPolicy": "map[whenDeleted:Retain whenScaled:Retain]",
	}
)

// refusals say why a field is left out, where there is more to say.
var refusals = map[string]string{
	"serviceAccountName": "is left out: instances have no service account of the cluster's API",
	"serviceAccount":     "is left out: instances have no service account of the cluster's API",
	"securityContext":    "is left out: every instance runs as user 65532 with a read-only root and without capabilities",
	"hostNetwork":        "is refused: instances get nothing of the node",
	"hostPID":            "is refused: instances get nothing of the node",
	"hostIPC":            "is refused: instances get nothing of the node",
	"imagePullSecrets":   "is left out: kubernetes.pull-secret names the one of all agents",
	"nodeSelector":       "is left out: the cluster chooses the node",
	"affinity":           "is left out: instances of an agent are spread over nodes where there are some",
	"tolerations":        "is left out: the cluster chooses the node",
	"lifecycle":          "is left out: instances get SIGTERM, and stop_timeout to end",
	"workingDir":         "is left out: it is that of the image",
	"strategy":           "is left out: the portal replaces instances one after the other",
	"updateStrategy":     "is left out: the portal replaces instances one after the other",
	"serviceName":        "is left out: agents find each other by queues",
	"priorityClassName":  "is left out: all agents have the same priority",
	"imagePullPolicy":    "is left out: images are pulled where they are not there",
}

func tree(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func take(m map[string]any, key string) any {
	v := m[key]
	delete(m, key)
	return v
}
