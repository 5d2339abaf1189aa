package surroundings

import (
	"context"
	"encoding/json"

	kerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// kind is one kind of object, as the API server knows it.
type kind struct {
	name, group, path, plural string
}

var (
	services   = kind{"Service", "v1", "/api/v1", "services"}
	accounts   = kind{"ServiceAccount", "v1", "/api/v1", "serviceaccounts"}
	settings   = kind{"ConfigMap", "v1", "/api/v1", "configmaps"}
	policies   = kind{"NetworkPolicy", "networking.k8s.io/v1", "/apis/networking.k8s.io/v1", "networkpolicies"}
	disruption = kind{"PodDisruptionBudget", "policy/v1", "/apis/policy/v1", "poddisruptionbudgets"}

	kinds = []kind{services, accounts, settings, policies, disruption}
)

// pageSize is how many objects are asked for at once.
const pageSize = "500"

// at makes a request about objects of a kind; of all if name is "".
func (k *Keeper) at(req *rest.Request, of kind, name string) *rest.Request {
	segments := []string{of.path, "namespaces", k.Namespace, of.plural}
	if name != "" {
		segments = append(segments, name)
	}
	return req.AbsPath(segments...).SetHeader("Accept", "application/json")
}

// ask sends a request. An error says why the API server refuses, which raw answers do
// not.
func ask(ctx context.Context, req *rest.Request) ([]byte, error) {
	answer := req.Do(ctx)
	if err := answer.Error(); err != nil {
		return nil, err
	}
	return answer.Raw()
}

// get gives what is common to all objects. NotFound as the client says it.
func (k *Keeper) get(ctx context.Context, of kind, name string) (*meta.PartialObjectMetadata, error) {
	body, err := ask(ctx, k.at(k.Client.Get(), of, name))
	if err != nil {
		return nil, err
	}
	var o meta.PartialObjectMetadata
	return &o, json.Unmarshal(body, &o)
}

// apply writes an object unless somebody else has one of its name, and gives its
// version. Only the fields that are given are touched.
func (k *Keeper) apply(ctx context.Context, of kind, name string, notes map[string]string, fields map[string]any) (version string, err error) {
	got, err := k.get(ctx, of, name)
	if err == nil {
		err = k.Owned(of.name, got.ObjectMeta)
	} else if kerrors.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		return "", err
	}
	fields["apiVersion"], fields["kind"] = of.group, of.name
	fields["metadata"] = map[string]any{"name": name, "namespace": k.Namespace, "labels": k.Labels(notes[k.Note]), "annotations": notes}
	body, err := json.Marshal(fields)
	if err != nil {
		return "", err
	}
	made, err := ask(ctx, k.at(k.Client.Patch(types.ApplyPatchType), of, name).Param("fieldManager", k.Manager).Param("force", "true").Body(body))
	if err != nil {
		return "", err
	}
	var o meta.PartialObjectMetadata
	err = json.Unmarshal(made, &o)
	return o.ResourceVersion, err
}

// drop removes the object of the name if it is ours.
func (k *Keeper) drop(ctx context.Context, of kind, name string) error {
	got, err := k.get(ctx, of, name)
	if kerrors.IsNotFound(err) {
		return nil
	}
	if err != nil || k.Owned(of.name, got.ObjectMeta) != nil {
		return err
	}
	return k.remove(ctx, of, got.ObjectMeta)
}

// list gives the objects that the labels select.
func (k *Keeper) list(ctx context.Context, of kind, selector string) ([]meta.PartialObjectMetadata, error) {
	var all []meta.PartialObjectMetadata
	for next := ""; ; {
		req := k.at(k.Client.Get(), of, "").Param("labelSelector", selector).Param("limit", pageSize)
		if next != "" {
			req = req.Param("continue", next)
		}
		body, err := ask(ctx, req)
		if err != nil {
			return nil, err
		}
		var page meta.PartialObjectMetadataList
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if next = page.Continue; next == "" {
			return all, nil
		}
	}
}

// remove deletes exactly this object; one that is gone already is as well.
func (k *Keeper) remove(ctx context.Context, of kind, o meta.ObjectMeta) error {
	options, err := json.Marshal(meta.DeleteOptions{
		TypeMeta:      meta.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		Preconditions: meta.NewUIDPreconditions(string(o.UID)),
	})
	if err != nil {
		return err
	}
	err = k.at(k.Client.Delete(), of, o.Name).SetHeader("Content-Type", "application/json").Body(options).Do(ctx).Error()
	if kerrors.IsNotFound(err) || kerrors.IsConflict(err) { // another one has the name
		return nil
	}
	return err
}
