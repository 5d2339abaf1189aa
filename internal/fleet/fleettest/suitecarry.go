package fleettest

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/cargo"
)

// testCarry brings content into volumes and out of them again, which has to be the
// same, whatever was there before, and for the program of an instance to see.
func testCarry(t *testing.T, b *bench) {
	c, ok := b.rt.(fleet.Carrier)
	if !ok {
		t.Skip("the runtime carries no content")
	}
	if _, err := c.Carries(b.ctx()); err != nil {
		t.Fatalf("nothing is carried here: %v", err) // every harness is made so that it is
	}
	l := b.launch("carried", 0, "file", "notes/text", "more")
	l.Volumes = []agent.Volume{{Name: "notes", Path: "notes"}}
	b.ok(b.rt.Prepare(b.ctx(), l))
	whole := luggage(t)
	want, err := cargo.Survey(bytes.NewReader(whole))
	b.ok(err)
	for _, volume := range []string{fleet.DataVolume, "notes"} {
		if got := b.packed(c, l, volume); got.Files != 0 {
			t.Errorf("the volume %q begins with %s", volume, got)
		}
		if err := c.UnpackVolume(b.ctx(), l, volume, want.Bytes, bytes.NewReader(whole[:len(whole)/2])); err == nil {
			t.Error("half of an archive is taken for a whole one")
		}
		for range 2 { // what is there is replaced
			b.ok(c.UnpackVolume(b.ctx(), l, volume, want.Bytes, bytes.NewReader(whole)))
			if got := b.packed(c, l, volume); !got.Same(want) {
				t.Errorf("the volume %q holds %+v, want %+v", volume, got, want)
			}
		}
	}
	small := Archive(map[string]string{"text": "some "})
	b.ok(c.UnpackVolume(b.ctx(), l, "notes", 5, bytes.NewReader(small)))
	if _, fake := b.rt.(*Fake); fake { // whose programs have no files
		return
	}
	b.ok(b.rt.Launch(b.ctx(), l))
	b.said(l, "some more")
	b.ok(b.rt.Stop(b.ctx(), l.AgentID, l.InstanceID, 0))
	var out bytes.Buffer
	b.ok(c.PackVolume(b.ctx(), l, "notes", &out))
	files, err := Unarchive(out.Bytes())
	if err != nil || files["text"] != "some more" {
		t.Errorf("afterwards it holds %v, %v", slices.Sorted(maps.Keys(files)), err)
	}
	b.ok(b.rt.Remove(b.ctx(), l.AgentID))
}

// packed says what is packed of a volume.
func (b *bench) packed(c fleet.Carrier, l fleet.Launch, volume string) cargo.Tally {
	b.Helper()
	var out bytes.Buffer
	b.ok(c.PackVolume(b.ctx(), l, volume, &out))
	got, err := cargo.Survey(&out)
	b.ok(err)
	return got
}

// luggage is an archive of all that is carried.
func luggage(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	at := time.Unix(1_700_000_000, 0)
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	for _, one := range []struct {
		tar.Header
		content []byte
	}{
		{tar.Header{Name: "deep/", Typeflag: tar.TypeDir, Mode: 0o750}, nil},
		{tar.Header{Name: "deep/er/", Typeflag: tar.TypeDir, Mode: 0o700}, nil},
		{tar.Header{Name: "deep/er/large", Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(noise))}, noise},
		{tar.Header{Name: "empty/", Typeflag: tar.TypeDir, Mode: 0o755}, nil},
		{tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "deep/er/large"}, nil},
		{tar.Header{Name: "nothing", Typeflag: tar.TypeReg, Mode: 0o444}, nil},
		{tar.Header{Name: "run", Typeflag: tar.TypeReg, Mode: 0o755, Size: 3}, []byte("run")},
		{tar.Header{Name: "second", Typeflag: tar.TypeLink, Linkname: "run"}, nil},
		{tar.Header{Name: "ünïcode with spaces", Typeflag: tar.TypeReg, Mode: 0o640, Size: 1}, []byte{0}},
	} {
		one.ModTime = at
		if err := w.WriteHeader(&one.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, bytes.NewReader(one.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
