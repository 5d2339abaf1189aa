package fleettest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"path"
	"slices"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/cargo"
)

// Archive gives files as an archive; names that end in a slash are directories.
func Archive(files map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640, Size: int64(len(files[name]))}
		if name[len(name)-1] == '/' {
			h.Typeflag, h.Mode = tar.TypeDir, 0o750
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err) // names that no test has
		}
		_, _ = w.Write([]byte(files[name]))
	}
	_ = w.Close()
	return b.Bytes()
}

// Unarchive gives the files of an archive.
func Unarchive(archive []byte) (map[string]string, error) {
	files := map[string]string{}
	in := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return files, err
		}
		text, err := io.ReadAll(in)
		if err != nil {
			return files, err
		}
		files[path.Clean(h.Name)] = string(text)
	}
}

// Apart lets each instance have volumes of its own.
func (f *Fake) Apart() {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.apart = true
}

// Carries implements fleet.Carrier; instances share their volumes unless Apart was
// called.
func (f *Fake) Carries(ctx context.Context) (apart bool, err error) {
	if err := f.enter(ctx, "Carries", ""); err != nil {
		return false, err
	}
	defer f.w.mu.Unlock()
	return f.w.apart, nil
}

// PackVolume implements fleet.Carrier.
func (f *Fake) PackVolume(ctx context.Context, l fleet.Launch, volume string, w io.Writer) error {
	if err := f.enter(ctx, "PackVolume", l.AgentID); err != nil {
		return err
	}
	content := f.w.agent(l.AgentID).volumes[volume]
	f.w.mu.Unlock()
	if content == nil {
		content = Archive(nil)
	}
	_, err := w.Write(content)
	return err
}

// UnpackVolume implements fleet.Carrier. What Fail set for it comes when half of it has
// arrived.
func (f *Fake) UnpackVolume(ctx context.Context, l fleet.Launch, volume string, _ int64, r io.Reader) error {
	content, rerr := io.ReadAll(r)
	if rerr == nil {
		_, rerr = cargo.Survey(bytes.NewReader(content))
	}
	f.w.mu.Lock()
	f.w.agent(l.AgentID).volumes[volume] = content[:len(content)/2]
	f.w.mu.Unlock()
	if err := f.enter(ctx, "UnpackVolume", l.AgentID); err != nil {
		return err
	}
	defer f.w.mu.Unlock()
	if rerr != nil {
		return rerr
	}
	f.w.agent(l.AgentID).volumes[volume] = content
	return nil
}

// Fill puts files into a volume of an agent.
func (f *Fake) Fill(agentID, volume string, files map[string]string) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.agent(agentID).volumes[volume] = Archive(files)
}

// Content gives the files of a volume of an agent.
func (f *Fake) Content(agentID, volume string) (map[string]string, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	content := f.w.agent(agentID).volumes[volume]
	if content == nil {
		return nil, nil
	}
	return Unarchive(content)
}

var _ fleet.Carrier = (*Fake)(nil)
