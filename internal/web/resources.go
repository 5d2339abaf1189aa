package web

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

const (
	resourcesPath = "/resources"
	orphanPath    = resourcesPath + "/orphans/{where}/{agent}"
)

// resourceRoutes are about what agents hold where, and what nobody owns.
var resourceRoutes = []Route{
	{Method: "GET", Path: resourcesPath, Role: auth.Viewer, ID: "resources-page", Title: "Resources", handle: (*Server).resourcesPage},
	{Method: "GET", Path: orphanPath, Role: auth.Admin, ID: "orphan-form", handle: (*Server).orphanForm},
	{Method: "POST", Path: orphanPath, Role: auth.Admin, ID: "clear-orphan", handle: (*Server).clearOrphan},
}

// mostOrphans is how many the page lists.
const mostOrphans = 100

// holdings is what the page of resources shows.
type holdings struct {
	*fleet.Holders
	Quotas  []fleet.QuotaUse
	Orphans []fleet.Orphan
	Further int // that are left over as well
	// See and Clear tell whether whoever looks may know what is left over, and
	// remove it.
	See, Clear bool
	Query      url.Values // what is asked for
	Runtimes   []string
	Filtered   bool
	Done       string // what came of the form before
	Offset     int
}

// resourcesPage shows what agents hold where, quotas, and what is left over.
func (s *Server) resourcesPage(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Steward == nil {
		return notHere()
	}
	v, err := s.holdings(r)
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, resourcesPageBody(v))
	}
	v.Done = doneTexts[r.URL.Query().Get("done")]
	return s.show(w, r, Shell{Title: "Resources", Active: resourcesPath}, resourcesPageBody(v))
}

func (s *Server) holdings(r *http.Request) (*holdings, error) {
	in, role, ctx := r.URL.Query(), auth.From(r.Context()).Role, r.Context()
	v := &holdings{Query: url.Values{}, Runtimes: s.cfg.Steward.RuntimeNames(), See: role.Includes(auth.Operator), Clear: role.Includes(auth.Admin)}
	q := fleet.HolderQuery{Runtime: in.Get("runtime"), Search: strings.TrimSpace(in.Get("q"))}
	if q.Runtime != "" && !slices.Contains(v.Runtimes, q.Runtime) {
		return nil, invalidQuery("runtime", "must be one of "+strings.Join(v.Runtimes, ", "))
	}
	named := s.narrowedTo(r)
	for field, value := range map[string]string{"runtime": q.Runtime, "q": q.Search, "agent": strings.Join(named, ",")} {
		if value != "" {
			v.Query.Set(field, value)
		}
	}
	v.Filtered = len(v.Query) > 0
	var err error
	if q.AgentIDs, err = s.agentIDs(ctx, named); err != nil {
		return nil, err
	}
	if text := in.Get("cursor"); text != "" {
		if q.Offset, err = strconv.Atoi(text); err != nil || q.Offset < 0 {
			return nil, invalidQuery("cursor", "must be a number")
		}
		v.Offset = q.Offset
	}
	if v.Holders, err = s.cfg.Steward.Holders(ctx, q); err != nil {
		return nil, err
	}
	if v.Quotas, err = s.cfg.Steward.QuotaUses(ctx); err != nil || !v.See {
		return v, err
	}
	return v, s.leftOver(r, v, q)
}

// leftOver adds what nobody owns and the filter leaves.
func (s *Server) leftOver(r *http.Request, v *holdings, q fleet.HolderQuery) error {
	list, notes, err := s.cfg.Steward.Orphans(r.Context())
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(o fleet.Orphan) bool {
		return q.Runtime != "" && o.Runtime != q.Runtime || q.AgentIDs != nil && !slices.Contains(q.AgentIDs, o.AgentID) ||
			!strings.Contains(strings.ToLower(o.AgentID), strings.ToLower(q.Search))
	})
	v.Orphans = list[:min(len(list), mostOrphans)]
	v.Further = len(list) - len(v.Orphans)
	for _, note := range notes {
		_, reason, _ := strings.Cut(note, " is not known: ")
		if !slices.ContainsFunc(v.Notes, func(told string) bool { return strings.HasSuffix(told, reason) }) {
			v.Notes = append(v.Notes, note)
		}
	}
	return nil
}

// at is the address of the page as it is; next is that of the next part.
func (v *holdings) at() string { return v.address(v.Offset) }

func (v *holdings) next() string {
	if v.Next == 0 {
		return ""
	}
	return v.address(v.Next)
}

func (v *holdings) address(offset int) string {
	q := maps.Clone(v.Query)
	if offset > 0 {
		q.Set("cursor", strconv.Itoa(offset))
	}
	if len(q) == 0 {
		return resourcesPath
	}
	return resourcesPath + "?" + q.Encode()
}

// onDisk is the sum of those of the runtime that are shown.
func (v *holdings) onDisk(runtime string) (sum int64, shown int) {
	for _, h := range v.List {
		if h.Runtime == runtime {
			sum += h.Bytes
			shown++
		}
	}
	return sum, shown
}

// diskText says what agents have on the disks of a runtime.
func (v *holdings) diskText(p fleet.Place) string {
	sum, shown := v.onDisk(p.Runtime)
	if p.Agents == 0 && p.Asked.Agents > 0 {
		return view.None
	}
	if shown < p.Agents {
		return fmt.Sprintf("%s of the %d listed", view.Bytes(sum), shown)
	}
	return view.Bytes(sum)
}

// holdsText says in short what an agent holds.
func holdsText(kinds map[string]int) string {
	plural := map[string]string{"directory": "directories"}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		if kind == "logs" {
			out = append(out, kind)
			continue
		}
		out = append(out, count(kinds[kind], kind, cmp.Or(plural[kind], kind+"s")))
	}
	return strings.Join(out, ", ")
}

// share is one bound of a quota and what is taken of it.
type share struct {
	Name, Text string
	Cell       view.Cell
}

// sharesOf gives the bounds of a quota, those that bound nothing left out.
func sharesOf(q fleet.QuotaUse) (out []share) {
	add := func(name string, taken, bound float64, show func(float64) string) {
		if bound <= 0 {
			return
		}
		part := min(1, taken/bound)
		sh := share{Name: name, Text: show(taken) + " of " + show(bound), Cell: view.Cell{Share: &part}}
		if taken >= bound*0.9 {
			sh.Cell.Status = "warning"
		}
		out = append(out, sh)
	}
	plain := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	size := func(v float64) string { return view.Bytes(int64(v)) }
	add("Agents", float64(q.Taken.Agents), float64(q.Agents), plain)
	add("Replicas", float64(q.Taken.Replicas), float64(q.Replicas), plain)
	add("Processors", q.Taken.CPU, q.CPU, plain)
	add("Memory", float64(q.Taken.Memory), float64(q.Memory), size)
	add("Disk", float64(q.Taken.Disk), float64(q.Disk), size)
	return out
}

// orNoLimit writes an amount, and that nothing bounds it as 0.
func orNoLimit(text string, amount float64) string {
	if amount == 0 {
		return view.None
	}
	return text
}

func coresText(v float64) string { return orNoLimit(strconv.FormatFloat(v, 'f', -1, 64), v) }

func sizeText(v int64) string { return orNoLimit(view.Bytes(v), float64(v)) }

func orphanHref(o fleet.Orphan) string {
	return resourcesPath + "/orphans/" + url.PathEscape(o.Runtime) + "/" + url.PathEscape(o.AgentID)
}

// orphanForm shows all that would be removed, and asks whether it is to be.
func (s *Server) orphanForm(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Steward == nil {
		return notHere()
	}
	o, err := s.cfg.Steward.Orphan(r.Context(), r.PathValue("where"), r.PathValue("agent"))
	if err != nil {
		return err
	}
	return s.dialogOf(w, r, Shell{Title: "Remove what is left over", Active: resourcesPath, Crumbs: []Crumb{{"Resources", resourcesPath}}}, orphanConfirm(*o))
}

// orphanImpact are the lines of what would be removed.
func orphanImpact(o fleet.Orphan) (out []components.Consequence) {
	for i, h := range o.Holdings {
		if i == 20 {
			out = append(out, components.Consequence{Icon: "ellipsis", Text: count(len(o.Holdings)-i, "further thing", "further things")})
			break
		}
		c := components.Consequence{Icon: "trash-2", Text: view.Words(h.Kind) + " " + view.Plain(h.Name, 120), Detail: view.Plain(h.Where, 200), Status: "warning"}
		if h.Shared {
			c.Icon, c.Status, c.Detail = "check", "", "stays: others may use it"
		} else if h.Bytes > 0 {
			c.Detail = strings.TrimPrefix(c.Detail+", "+view.Bytes(h.Bytes), ", ")
		}
		out = append(out, c)
	}
	return out
}

// clearOrphan removes what is left over.
func (s *Server) clearOrphan(w http.ResponseWriter, r *http.Request) error {
	reason, id := strings.TrimSpace(r.PostFormValue("reason")), r.PathValue("agent")
	if r.PostFormValue("confirm") != id {
		return fault.New(fault.Invalid, "orphan.confirm", "It was not confirmed").
			Do("Type the name as it is shown.").At(fault.Field{Path: "confirm", Message: "must be " + strconv.Quote(view.Plain(id, 100))})
	}
	if s.cfg.Steward == nil || len(reason) > 500 {
		return fault.New(fault.Invalid, "orphan.form", "The form is not complete").Do("Open it again.")
	}
	if _, err := s.cfg.Steward.RemoveOrphan(r.Context(), r.PathValue("where"), id, reason); err != nil {
		return err
	}
	return landed(w, r, resourcesPath+"?done=orphan")
}

// anchor makes a part of an id of the name of a runtime, which may have a slash.
func anchor(runtime string) string { return strings.ReplaceAll(runtime, "/", "_") }
