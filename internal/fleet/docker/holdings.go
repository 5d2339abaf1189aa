package docker

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// Holdings implements fleet.Accountant.
func (r *Runtime) Holdings(ctx context.Context, agentID string) ([]fleet.Holding, error) {
	if err := upkeep.CheckIDs(agentID); err != nil {
		return nil, err
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	containers, err := r.api().ContainerList(bounded, client.ContainerListOptions{All: true, Filters: r.mine(agentID)})
	if err != nil {
		return nil, r.answered(ctx, "list containers", err)
	}
	volumes, err := r.api().VolumeList(bounded, client.VolumeListOptions{Filters: r.mine(agentID)})
	if err != nil {
		return nil, r.answered(ctx, "list volumes", err)
	}
	var list []fleet.Holding
	images := map[string]bool{}
	for _, c := range containers.Items {
		name := strings.TrimPrefix(strings.Join(c.Names, ", "), "/")
		list = append(list, fleet.Holding{
			Kind: "container", Name: name, Where: c.Status, Instance: c.Labels[labelInstance], CreatedAt: time.Unix(c.Created, 0).UTC(),
		})
		if !images[c.Image] {
			images[c.Image] = true
			h := fleet.Holding{Kind: "image", Name: shortDigest(c.Image), Where: "may be used by others as well", Shared: true}
			if im, err := r.api().ImageInspect(bounded, c.ImageID); err == nil {
				h.Bytes = im.Size
				if len(im.RepoTags) > 0 {
					h.Name = im.RepoTags[0]
				}
			}
			list = append(list, h)
		}
	}
	sizes := map[string]int64{}
	if len(volumes.Items) > 0 {
		sizes = r.volumeSizes(ctx)
	}
	for _, v := range volumes.Items {
		h := fleet.Holding{Kind: "volume", Name: v.Name, Where: v.Mountpoint, Bytes: sizes[v.Name]}
		h.CreatedAt, _ = time.Parse(time.RFC3339, v.CreatedAt)
		list = append(list, h)
	}
	built, err := r.images(ctx, agentID)
	if err != nil {
		return nil, err
	}
	for _, im := range built {
		list = append(list, fleet.Holding{Kind: "image", Name: im.name, Where: "built for the agent", Bytes: im.size, CreatedAt: im.made})
	}
	left, err := r.unfinished(ctx, agentID)
	if err != nil {
		return nil, err
	}
	for _, im := range left {
		list = append(list, fleet.Holding{Kind: "image", Name: im.name, Where: "left by a build that failed", Bytes: im.size, CreatedAt: im.made})
	}
	list = append(list, upkeep.Logs(r.logsDir(agentID))...)
	fleet.SortHoldings(list)
	return list, nil
}

// shortDigest leaves of an image's id as much as people compare.
func shortDigest(name string) string {
	if strings.HasPrefix(name, "sha256:") && len(name) > 19 {
		return name[:19]
	}
	return name
}

// sizesKept is for how long the engine is not asked again what volumes take: it
// walks through all of them each time.
const sizesKept = 5 * time.Second

// volumeSizes is what volumes take, as the engine said last.
type volumeSizes struct {
	mu    sync.Mutex
	at    time.Time
	sizes map[string]int64 // not changed any more once it is here
}

// volumeSizes gives what volumes take, as far as the engine says.
func (r *Runtime) volumeSizes(ctx context.Context) map[string]int64 {
	v := &r.sizes
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sizes != nil && time.Since(v.at) < sizesKept {
		return v.sizes
	}
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	out := map[string]int64{}
	use, err := r.api().DiskUsage(bounded, client.DiskUsageOptions{Volumes: true, Verbose: true})
	if err != nil {
		r.cfg.Log.Debug("the engine does not say what volumes take", "error", err)
		return out
	}
	for _, v := range use.Volumes.Items {
		if v.UsageData != nil {
			out[v.Name] = max(0, v.UsageData.Size)
		}
	}
	v.sizes, v.at = out, time.Now()
	return out
}

var _ fleet.Accountant = (*Runtime)(nil)
