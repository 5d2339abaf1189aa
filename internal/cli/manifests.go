package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
)

// maxManifest bounds what is read of all files together; the API takes no more.
const maxManifest = 10 << 20

// argument reads a value that may be given as itself, as @FILE or, with "-",
// on standard input.
func (a *app) argument(s string) ([]byte, error) {
	switch {
	case s == "-":
		return a.readFile("-")
	case strings.HasPrefix(s, "@"):
		return a.readFile(s[1:])
	}
	return []byte(s), nil
}

func (a *app) readFile(name string) ([]byte, error) {
	in := a.io.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fault.New(fault.Invalid, "cli.file", "%s can't be read", name).Because("%v", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxManifest+1))
	if err != nil {
		return nil, fault.New(fault.Invalid, "cli.file", "%s can't be read", name).Because("%v", err)
	}
	if len(data) > maxManifest {
		return nil, fault.New(fault.TooLarge, "cli.file", "%s is too large", name).Because("at most 10 MiB are accepted")
	}
	return data, nil
}

// source is one document and where it stands.
type source struct {
	tree  map[string]any
	place string // file, and line where it is not the first document
}

// readManifests reads every document of the files; of a directory, all YAML and
// JSON files in it, by name. A mistake is reported with its file.
func (a *app) readManifests(names []string) ([]source, error) {
	var files []string
	for _, name := range names {
		list, err := manifestFiles(name)
		if err != nil {
			return nil, err
		}
		files = append(files, list...)
	}
	var docs []source
	for _, name := range files {
		data, err := a.readFile(name)
		if err != nil {
			return nil, err
		}
		list, err := manifest.Parse(data)
		if err != nil {
			if f := fault.As(err); f != nil {
				f.What = name + ": " + f.What
			}
			return nil, err
		}
		for i, d := range list {
			place := name
			if i > 0 {
				place = fmt.Sprintf("%s:%d", name, d.Line)
			}
			docs = append(docs, source{d.Tree, place})
		}
	}
	if len(docs) == 0 {
		return nil, fault.New(fault.Invalid, "cli.no_manifest", "There is no agent in %s", strings.Join(names, ", ")).
			Do("Give YAML or JSON files, or a directory that holds some.")
	}
	return docs, nil
}

func manifestFiles(name string) ([]string, error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fault.New(fault.Invalid, "cli.file", "%s can't be read", name).Because("%v", err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, fault.New(fault.Invalid, "cli.file", "%s can't be read", name).Because("%v", err)
	}
	var out []string
	for _, e := range entries {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			continue
		}
		path := filepath.Join(name, e.Name())
		if err := inside(name, path); err != nil {
			return nil, err
		}
		out = append(out, path)
	}
	return out, nil
}

// inside refuses what a directory from somebody else may hold to get at other
// files: a link that leads out of it, and what is no file and may never end.
// Links within it are fine; Kubernetes mounts are made of them.
func inside(dir, path string) error {
	refuse := func(why string, args ...any) error {
		return fault.New(fault.Invalid, "cli.file", "%s is not read", path).
			Because(why, args...).Do("Remove it from the directory, or name the file itself.")
	}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return refuse("%v", err)
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return refuse("%v", err)
	}
	if rel, err := filepath.Rel(root, target); err != nil || !filepath.IsLocal(rel) {
		return refuse("it is a link to %s, outside of the directory", target)
	}
	if info, err := os.Stat(target); err != nil || !info.Mode().IsRegular() {
		return refuse("it is not a regular file")
	}
	return nil
}

func importCommand(a *app) *cobra.Command {
	var dryRun bool
	var unknown string
	c := &cobra.Command{
		Use: "import FILE|DIR…", Short: "Make agents from files that others wrote", Args: cobra.MinimumNArgs(1),
		Long: "Makes agents from YAML or JSON files; of a directory, all that are in it. Fields that are not part of\n" +
			"the specification are kept. Agents that exist already are a conflict. All of it happens, or nothing.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.sendManifests(cmd, args, importOptions{"create", unknown, dryRun})
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be made")
	c.Flags().StringVar(&unknown, "unknown", "keep", "fields that are not part of the specification: keep or refuse")
	c.AddCommand(composeCommand(a), kubernetesCommand(a))
	return a.remote(c)
}

func applyCommand(a *app) *cobra.Command {
	var files []string
	var dryRun bool
	var unknown string
	c := &cobra.Command{
		Use: "apply -f FILE|DIR|-", Short: "Make agents what files say", Args: cobra.NoArgs,
		Long: "Creates the agents of the files that do not exist, changes those that differ, and leaves the others\n" +
			"alone. Applying twice changes nothing. All of it happens, or nothing. With --dry-run the difference is\n" +
			"shown and nothing is changed; the exit code is 2 then if there is a difference.",
		Example: "  portal apply -f examples/fleet --dry-run\n  portal apply -f examples/fleet",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usagef("name the files with -f")
			}
			return a.sendManifests(cmd, files, importOptions{"apply", unknown, dryRun})
		},
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, directory, or - for standard input; may be given several times")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only show the difference")
	c.Flags().StringVar(&unknown, "unknown", "refuse", "fields that are not part of the specification, as mistyped ones: refuse or keep")
	return a.remote(c)
}

// importOptions say how manifests are taken.
type importOptions struct {
	mode    string // create or apply
	unknown string // keep or refuse
	dryRun  bool
}

func (a *app) sendManifests(cmd *cobra.Command, files []string, o importOptions) error {
	if o.unknown != "keep" && o.unknown != "refuse" {
		return usagef("--unknown %q is neither keep nor refuse", o.unknown)
	}
	docs, err := a.readManifests(files)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	var answer agent.ImportResult
	raw, err := c.importAgents(cmd.Context(), docs, o, &answer)
	if err != nil {
		if f := fault.As(err); f != nil && f.Kind == fault.Conflict && f.Remedy == "" && o.mode == "create" {
			f.Remedy = "Use portal apply -f to change agents that exist."
		}
		return placed(err, docs)
	}
	v := view{raw: raw, text: importText(answer, o.dryRun)}
	changed := false
	for _, it := range answer.Items {
		v.names = append(v.names, it.ID)
		changed = changed || it.Change != "unchanged"
	}
	if err := a.show(v); err != nil {
		return err
	}
	for _, it := range answer.Items {
		for _, w := range it.Warnings {
			a.warn(it.ID + ": " + w)
		}
	}
	a.warn(answer.Warnings...)
	if o.dryRun && changed && o.mode == "apply" {
		return codeError(exitUsage)
	}
	return nil
}

var documentPath = regexp.MustCompile(`^documents\[(\d+)\]`)

// placed names the file of each mistake instead of the number of the document.
func placed(err error, docs []source) error {
	f := fault.As(err)
	if f == nil {
		return err
	}
	for i, field := range f.Fields {
		m := documentPath.FindStringSubmatch(field.Path)
		if m == nil {
			continue
		}
		if n, err := strconv.Atoi(m[1]); err == nil && n < len(docs) {
			f.Fields[i].Path = docs[n].place + " " + strings.TrimPrefix(field.Path, m[0])
		}
	}
	return f
}

func importText(answer agent.ImportResult, dryRun bool) string {
	var b strings.Builder
	count := map[string]int{}
	var updated []string
	for _, it := range answer.Items {
		count[it.Change]++
		if it.Change == agent.Updated {
			updated = append(updated, it.ID)
		}
		fmt.Fprintf(&b, "%-9s %s\n", clean(it.Change), clean(it.ID))
		for _, d := range it.Diff {
			writeChange(&b, d)
		}
	}
	note := ""
	if dryRun {
		note = " (nothing was changed: dry run)"
	}
	fmt.Fprintf(&b, "%d created, %d updated, %d unchanged%s\n", count["created"], count["updated"], count["unchanged"], note)
	if len(updated) > 0 && !dryRun {
		fmt.Fprintf(&b, "Those that run stay as they were; to bring them up to date: portal bulk stop,deploy,start %s\n", clean(strings.Join(updated, " ")))
	}
	return b.String()
}

func writeChange(b *strings.Builder, d agent.FieldChange) {
	if d.Old != nil {
		fmt.Fprintf(b, "  - %s: %s\n", clean(d.Path), clean(compact(d.Old)))
	}
	if d.New != nil {
		fmt.Fprintf(b, "  + %s: %s\n", clean(d.Path), clean(compact(d.New)))
	}
}

func composeCommand(a *app) *cobra.Command {
	var plan, apply bool
	var runtime string
	var env, images map[string]string
	c := &cobra.Command{
		Use: "compose FILE", Short: "Make agents of the services of a docker-compose file", Args: cobra.ExactArgs(1),
		Long: "Makes an agent in DRAFT of each service. Nothing is started, and what compose runs goes on untouched. What an\n" +
			"agent can't have is named, field by field; with --plan that is all that happens. Nothing but the file is read.",
		Example: "  portal import compose docker-compose.yaml --plan\n  portal import compose docker-compose.yaml --image web=registry.example/web:3 --env TAG=3",
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := a.readFile(args[0])
			if err != nil {
				return err
			}
			return a.adopt(cmd.Context(), map[string]any{"file": string(data), "runtime": runtime, "env": env, "images": images, "apply": apply, "dry_run": plan},
				func(ctx context.Context, c *conn, body io.Reader) (*http.Response, error) {
					return c.api.ImportComposeWithBody(ctx, nil, jsonType, body)
				})
		},
	}
	c.Flags().BoolVar(&plan, "plan", false, "only say what would be made, and what would be lost")
	c.Flags().BoolVar(&apply, "apply", false, "change agents that exist already")
	c.Flags().StringVar(&runtime, "runtime", "docker", "runtime of the agents")
	c.Flags().StringToStringVar(&env, "env", nil, "what the file's variables stand for, as NAME=VALUE")
	c.Flags().StringToStringVar(&images, "image", nil, "image of a service that is built, as SERVICE=IMAGE")
	return c
}

func kubernetesCommand(a *app) *cobra.Command {
	var plan, apply bool
	var namespace, runtime string
	c := &cobra.Command{
		Use: "kubernetes --namespace NAME", Short: "Make agents of the Deployments and StatefulSets of a Kubernetes namespace", Args: cobra.NoArgs,
		Long: "Makes an agent in DRAFT of each Deployment and StatefulSet. Nothing is started, stopped or changed on the cluster.\n" +
			"What an agent can't have is named, field by field; with --plan that is all that happens. The portal reads with its\n" +
			"own rights on the cluster of the runtime, so that it takes an administrator.",
		Example: "  portal import kubernetes --namespace shop --plan\n  portal import kubernetes --namespace shop --runtime kubernetes/eu",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if namespace == "" {
				return usagef("name the namespace with --namespace")
			}
			return a.adopt(cmd.Context(), map[string]any{"namespace": namespace, "runtime": runtime, "apply": apply, "dry_run": plan},
				func(ctx context.Context, c *conn, body io.Reader) (*http.Response, error) {
					return c.api.ImportKubernetesWithBody(ctx, nil, jsonType, body)
				})
		},
	}
	c.Flags().StringVar(&namespace, "namespace", "", "namespace whose workloads become agents")
	c.Flags().StringVar(&runtime, "runtime", "kubernetes", "cluster that is read, and the runtime of the agents")
	c.Flags().BoolVar(&plan, "plan", false, "only say what would be made, and what would be lost")
	c.Flags().BoolVar(&apply, "apply", false, "change agents that exist already")
	return c
}

// adopt sends what runs elsewhere is read from, and shows what became of it.
func (a *app) adopt(ctx context.Context, request map[string]any, send func(context.Context, *conn, io.Reader) (*http.Response, error)) error {
	body, err := jsonBody(request)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	var answer struct {
		Notes []struct {
			Path, Text string
			Lost       bool
		} `json:"notes"`
		Result agent.ImportResult `json:"result"`
	}
	raw, err := c.once(ctx, &answer, func(ctx context.Context) (*http.Response, error) { return send(ctx, c, body) })
	if err != nil {
		return err
	}
	for _, n := range answer.Notes {
		mark := "note"
		if n.Lost {
			mark = "lost"
		}
		a.say("%s  %s %s", mark, n.Path, n.Text)
	}
	v := view{raw: raw, head: []string{"AGENT", "CHANGE"}}
	for _, it := range answer.Result.Items {
		change := it.Change
		if request["dry_run"] == true && change != agent.Unchanged {
			change = "would be " + change
		}
		v.names = append(v.names, it.ID)
		v.rows = append(v.rows, []string{it.ID, change})
	}
	return a.show(v)
}
