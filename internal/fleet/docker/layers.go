package docker

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// layers remembers the images that a build makes on its way. The engine keeps them
// without a label and names them nowhere but in what it prints: an image that is
// finished is removed with them, and of a build that fails they are what is left.
type layers struct {
	file    string
	fresh   bool   // the step makes one
	running string // container of a command, whose own output follows
}

var layerMade = regexp.MustCompile(`^ ---> ([0-9a-f]{12})$`)

func (r *Runtime) layersFile(agentID string) string {
	return filepath.Join(r.agentDir(agentID), "layers")
}

// line takes in a line that a build printed.
func (k *layers) line(text string) error {
	if k.running != "" {
		if text == "Removing intermediate container "+k.running {
			k.running = ""
		}
		return nil
	}
	if strings.HasPrefix(text, "Step ") {
		_, step, _ := strings.Cut(text, " : ")
		k.fresh = !strings.HasPrefix(strings.ToUpper(step), "FROM ")
	}
	if text == " ---> Using cache" {
		k.fresh = false
	}
	if name, ok := strings.CutPrefix(text, " ---> Running in "); ok {
		k.running = name
	}
	made := layerMade.FindStringSubmatch(text)
	if made == nil || !k.fresh {
		return nil
	}
	f, err := os.OpenFile(k.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(made[1] + "\n")
	return err
}

// unfinished gives what is left of builds for the agent that failed, the last of each.
func (r *Runtime) unfinished(ctx context.Context, agentID string) (list []builtImage, err error) {
	known, err := r.layers(agentID)
	if err != nil || len(known) == 0 {
		return nil, err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().ImageList(bounded, client.ImageListOptions{Filters: make(client.Filters).Add("dangling", "true")})
	if err != nil {
		return nil, r.answered(ctx, "list images", err)
	}
	for _, im := range got.Items {
		id, _ := strings.CutPrefix(im.ID, "sha256:")
		if len(id) > 12 && slices.Contains(known, id[:12]) && im.Labels[labelOwner] == "" {
			list = append(list, builtImage{name: shortDigest(im.ID), id: im.ID, size: im.Size, made: time.Unix(im.Created, 0).UTC()})
		}
	}
	return list, nil
}

// layers are the names that are remembered.
func (r *Runtime) layers(agentID string) ([]string, error) {
	text, err := os.ReadFile(r.layersFile(agentID))
	if os.IsNotExist(err) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

// dropUnfinished removes what is left of builds that failed. What somebody else has
// built upon stays.
func (r *Runtime) dropUnfinished(ctx context.Context, agentID string) error {
	for {
		list, err := r.unfinished(ctx, agentID)
		if err != nil {
			return err
		}
		removed := false
		for _, im := range list {
			bounded, cancel := r.bounded(ctx)
			_, err := r.api().ImageRemove(bounded, im.id, client.ImageRemoveOptions{PruneChildren: true})
			cancel()
			if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
				return r.answered(ctx, "remove the image "+im.name, err)
			}
			removed = removed || err == nil
		}
		if !removed { // else what was below may be the last of another build
			break
		}
	}
	if err := os.Remove(r.layersFile(agentID)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
