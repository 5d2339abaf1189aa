package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/cli/client"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/manifest"
)

func agentsCreateCommand(a *app) *cobra.Command {
	var file, name, runtime, image, command, template, memory, display, version, description string
	var args, env, labels, depends []string
	var replicas int
	var cpu float64
	c := &cobra.Command{
		Use: "create [-f FILE]", Short: "Make an agent from a file or from flags", Args: cobra.NoArgs,
		Long: "Makes one agent in state DRAFT. Give its spec in a file, or the most common fields as flags; the two\ncan't be mixed. Start it with: portal bulk provision,deploy,start ID",
		Example: "  portal agents create --name hello --command /usr/bin/python3 --arg -m --arg http.server --arg '$(PORT)'\n" +
			"  portal agents create -f agent.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (file == "") == (name == "") {
				return usagef("give the spec with -f, or at least --name; not both")
			}
			tree := map[string]any{}
			if file != "" {
				docs, err := a.readManifests([]string{file})
				if err != nil {
					return err
				}
				if len(docs) != 1 {
					return usagef("%s holds %d agents; use portal import for several", file, len(docs))
				}
				tree = docs[0].tree
			} else {
				setAll(tree, map[string]any{"name": name, "display_name": display, "version": version, "description": description,
					"runtime": runtime, "image": image, "command": command, "template": template, "args": args, "dependencies": depends, "replicas": replicas})
				for field, list := range map[string][]string{"env": env, "labels": labels} {
					pairs, err := pairs("--"+strings.TrimSuffix(field, "s"), list)
					if err != nil {
						return err
					}
					setAll(tree, map[string]any{field: pairs})
				}
				resources := map[string]any{}
				setAll(resources, map[string]any{"cpu": cpu, "memory": memory})
				setAll(tree, map[string]any{"resources": resources})
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			var s shownAgent
			raw, err := c.createAgent(cmd.Context(), tree, &s)
			if err != nil {
				return err
			}
			a.warn(s.Warnings...)
			return a.show(view{raw: raw, names: []string{s.ID}, text: clean(s.ID) + " created\n"})
		},
	}
	fl := c.Flags()
	fl.StringVarP(&file, "filename", "f", "", "file with the spec, or - for standard input")
	fl.StringVar(&name, "name", "", "unique name")
	fl.StringVar(&display, "display-name", "", "name for people")
	fl.StringVar(&version, "version", "", "semantic version of the agent")
	fl.StringVar(&description, "description", "", "what it does")
	fl.StringVar(&runtime, "runtime", "", "what runs it: process (default), docker, kubernetes, or a place such as kubernetes/eu")
	fl.StringVar(&template, "template", "", "built-in agent to run instead of a command or image: blank or memory")
	fl.StringVar(&image, "image", "", "image to run, on docker and kubernetes")
	fl.StringVar(&command, "command", "", "program to run; with --image, instead of the image's entry point")
	fl.StringArrayVar(&args, "arg", nil, "argument of the program; may be given several times")
	fl.StringArrayVar(&env, "env", nil, "environment variable NAME=VALUE; may be given several times")
	fl.StringArrayVar(&labels, "label", nil, "label KEY=VALUE; may be given several times")
	fl.StringSliceVar(&depends, "depends-on", nil, "names of agents that it needs")
	fl.IntVar(&replicas, "replicas", 0, "instances to run (default 1)")
	fl.Float64Var(&cpu, "cpu", 0, "cores an instance may use, e.g. 0.5")
	fl.StringVar(&memory, "memory", "", "memory an instance may use, e.g. 256Mi")
	return c
}

// setAll sets the values that are not empty.
func setAll(tree, values map[string]any) {
	for k, v := range values {
		r := reflect.ValueOf(v)
		empty := r.IsZero()
		if r.Kind() == reflect.Map || r.Kind() == reflect.Slice {
			empty = r.Len() == 0
		}
		if !empty {
			tree[k] = v
		}
	}
}

func pairs(flag string, list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range list {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, usagef("%s %q is not NAME=VALUE", flag, p)
		}
		out[k] = v
	}
	return out, nil
}

func agentsEditCommand(a *app) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "edit ID", Short: "Change an agent's spec in an editor", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgents,
		Long: "Opens the spec as YAML in $VISUAL, $EDITOR or vi, and sends what you changed. If it is not accepted,\n" +
			"the editor opens again with what is wrong on top; leave it without a change to give up. If somebody\n" +
			"else changed the agent meanwhile, nothing is overwritten: your text is kept in a file.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.editAgent(cmd.Context(), c, args[0], reason)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return c
}

// specFields are the fields of the API's agent that belong to the spec.
var specFields = func() map[string]bool {
	out := map[string]bool{}
	for f := range reflect.TypeFor[agent.Spec]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out[name] = true
	}
	delete(out, "id") // an id does not change
	return out
}()

// specOf gives the part of an agent's JSON that can be edited.
func specOf(raw json.RawMessage) (map[string]any, error) {
	docs, err := manifest.Parse(raw)
	if err != nil || len(docs) != 1 {
		return nil, err
	}
	spec := docs[0].Tree
	for k := range spec {
		if !specFields[k] {
			delete(spec, k)
		}
	}
	return spec, nil
}

func (a *app) editAgent(ctx context.Context, c *conn, id, reason string) error {
	var s shownAgent
	raw, err := c.agent(ctx, id, &s)
	if err != nil {
		return err
	}
	before, err := specOf(raw)
	if err != nil {
		return err
	}
	text, err := toYAML(before)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "portal-"+s.ID+"-*.yaml") // 0600: env may hold what others should not read
	if err != nil {
		return err
	}
	path := file.Name()
	_ = file.Close()
	head := "# " + s.ID + ": change what is to be different, save and leave.\n# Lines that begin with # are left out.\n"
	for {
		updated, err := a.editText(ctx, path, head+text)
		if err != nil {
			return fault.New(fault.Internal, "cli.edit", "The editor failed; your text is in %s", path).Because("%v", err)
		}
		if updated == text {
			_ = os.Remove(path)
			a.say("%s: nothing changed", id)
			return nil
		}
		text = updated
		err = a.sendEdit(ctx, c, s, before, text, reason)
		switch fault.KindOf(err) {
		case "":
			_ = os.Remove(path)
			return nil
		case fault.Invalid, fault.TooLarge:
			head = commented(faultText("Not accepted: ", fault.As(err))) + "# Correct it, or leave without a change to give up.\n"
		default:
			fmt.Fprintf(a.io.Err, "Your text is in %s\n", path)
			return err
		}
	}
}

// sendEdit sends the difference between what was there and the text.
func (a *app) sendEdit(ctx context.Context, c *conn, s shownAgent, before map[string]any, text, reason string) error {
	docs, err := manifest.Parse([]byte(text))
	if err != nil {
		return err
	}
	if len(docs) != 1 {
		return fault.New(fault.Invalid, "cli.edit", "There are %d documents, and there has to be one", len(docs))
	}
	patch := mergePatch(before, docs[0].Tree)
	if len(patch) == 0 {
		a.say("%s: nothing changed", s.ID)
		return nil
	}
	var now shownAgent
	raw, err := c.patchAgent(ctx, s.ID, s.ResourceVersion, patch, reason, &now)
	if err != nil {
		return err
	}
	a.warn(now.Warnings...)
	return a.show(view{raw: raw, names: []string{now.ID}, text: fmt.Sprintf("%s changed: revision %d\n", clean(now.ID), now.Revision)})
}

// mergePatch gives the RFC 7396 patch that makes after out of before.
func mergePatch(before, after map[string]any) map[string]any {
	patch := map[string]any{}
	for k, old := range before {
		v, ok := after[k]
		if !ok {
			patch[k] = nil
			continue
		}
		oldMap, isOld := old.(map[string]any)
		newMap, isNew := v.(map[string]any)
		if isOld && isNew {
			if sub := mergePatch(oldMap, newMap); len(sub) > 0 {
				patch[k] = sub
			}
		} else if !sameJSON(old, v) {
			patch[k] = v
		}
	}
	for k, v := range after {
		if _, ok := before[k]; !ok {
			patch[k] = v
		}
	}
	return patch
}

// sameJSON compares what the values would be sent as: a number may have been
// read as one type from JSON and as another from YAML.
func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// editText lets the user edit the text, and gives it without comment lines.
func (a *app) editText(ctx context.Context, path, text string) (string, error) {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", err
	}
	// Ctrl-C in an editor means something else than in a shell.
	if err := a.io.Edit(context.WithoutCancel(ctx), path); err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "#") {
			out.WriteString(line)
		}
	}
	return out.String(), nil
}

func commented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("# " + line)
	}
	return b.String()
}

func orphansCommand(a *app) *cobra.Command {
	return a.remote(group("orphans", "What runtimes hold and no agent owns", orphansListCommand(a), orphansRemoveCommand(a)))
}

// orphans asks for what is left over; the rows show every piece of it.
func (a *app) orphans(ctx context.Context, c *conn) (list []fleet.Orphan, v view, err error) {
	var answer struct {
		Items []fleet.Orphan `json:"items"`
		Notes []string       `json:"notes"`
	}
	v = view{empty: "Nothing is left over.", head: []string{"RUNTIME/AGENT", "KIND", "NAME", "SIZE", "WHY"}}
	v.raw, err = c.once(ctx, &answer, func(ctx context.Context) (*http.Response, error) { return c.api.ListOrphans(ctx) })
	for _, o := range answer.Items {
		id := o.Runtime + "/" + o.AgentID
		v.names = append(v.names, id)
		for _, h := range o.Holdings {
			v.rows = append(v.rows, []string{id, h.Kind, h.Name, shownBytes(h.Bytes), o.Why})
		}
	}
	for _, n := range answer.Notes {
		a.say("%s", n)
		v.empty = "Nothing is left over where that is known."
	}
	return answer.Items, v, err
}

func orphansListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List what is left over", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			_, v, err := a.orphans(cmd.Context(), c)
			if err != nil {
				return err
			}
			return a.show(v)
		},
	}
}

func orphansRemoveCommand(a *app) *cobra.Command {
	var yes bool
	var reason string
	c := &cobra.Command{
		Use: "rm RUNTIME/AGENT…", Short: "Remove what is left over, with its content", Args: cobra.MinimumNArgs(1),
		Long: "Removes what a runtime holds for an agent that has nothing to do there: containers, volumes, directories and\n" +
			"output. It is listed first. What an agent owns is refused. It needs the role admin, and is on record.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, _, err := a.orphans(cmd.Context(), c)
			if err != nil {
				return err
			}
			for _, arg := range args {
				at := strings.LastIndexByte(arg, '/') // the name of a runtime may have one as well
				if at < 0 {
					return usagef("%s is not RUNTIME/AGENT, as portal orphans ls shows it", arg)
				}
				runtime, agentID := arg[:at], arg[at+1:]
				for _, o := range list {
					for _, h := range o.Holdings {
						if o.Runtime == runtime && o.AgentID == agentID && !h.Shared {
							a.say("%s %s %s", h.Kind, h.Name, shownBytes(h.Bytes))
						}
					}
				}
				if err := a.confirm(yes, "Remove what "+agentID+" has left on "+runtime+", with its content?"); err != nil {
					return err
				}
				p := client.RemoveOrphanParams{Reason: param(reason)}
				if _, err := c.once(cmd.Context(), nil, func(ctx context.Context) (*http.Response, error) {
					return c.api.RemoveOrphan(ctx, runtime, agentID, &p)
				}); err != nil {
					return err
				}
				a.say("%s removed", arg)
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return c
}
