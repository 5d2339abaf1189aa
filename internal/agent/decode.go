package agent

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Mode says what Decode does with fields that are not part of a Spec.
type Mode int

// The modes.
const (
	// Strict refuses them, with the field that was probably meant.
	Strict Mode = iota
	// Keep keeps them in Extra and warns, as for documents made elsewhere.
	Keep
)

// ReadOnlyFields are the fields of an agent's JSON form that the portal sets.
// Strict refuses them, Keep leaves them out with a warning.
var ReadOnlyFields = []string{
	"state", "health", "health_reason", "revision", "deployed_revision", "resource_version", "active_operation",
	"failure", "allowed_actions", "instances", "warnings", "created_at", "updated_at",
}

// Decode makes a Spec from a plain tree (see manifest.Document) and validates
// it. "coe_name" is read as name, and a text as specialization as its role.
// The fault Invalid that it returns lists everything that is wrong, each with
// the path of its field; the Spec then holds what could be read. Warnings are
// sentences for people.
func Decode(tree map[string]any, mode Mode) (Spec, []string, error) {
	d := &decoder{mode: mode, extra: map[string]any{}}
	var s Spec
	d.object("", d.aliases(tree), reflect.ValueOf(&s).Elem())
	if len(d.extra) > 0 {
		kept := maps.Clone(s.Extra)
		if kept == nil {
			kept = map[string]any{}
		}
		maps.Copy(kept, d.extra)
		s.Extra = kept
	}
	fields := d.fields
	for _, f := range s.Validate() {
		if !d.reported(f.Path) {
			fields = append(fields, f)
		}
	}
	return s, d.warnings, invalidSpec(fields)
}

// invalidSpec makes the fault that lists the fields, in order of their paths;
// nil if there are none.
func invalidSpec(fields []fault.Field) error {
	if len(fields) == 0 {
		return nil
	}
	slices.SortStableFunc(fields, func(a, b fault.Field) int { return strings.Compare(a.Path, b.Path) })
	return fault.New(fault.Invalid, "agent.invalid_spec", "The agent specification is not valid").At(fields...)
}

type decoder struct {
	mode     Mode
	fields   []fault.Field
	warnings []string
	extra    map[string]any
}

func (d *decoder) wrong(path, message string, args ...any) {
	d.fields = append(d.fields, fault.Field{Path: path, Message: fmt.Sprintf(message, args...)})
}

// reported tells whether something is already said about the field or one that
// it lies in; its value then means nothing.
func (d *decoder) reported(path string) bool {
	return slices.ContainsFunc(d.fields, func(f fault.Field) bool {
		rest, ok := strings.CutPrefix(path, f.Path)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// aliases puts other spellings right, in a copy.
func (d *decoder) aliases(tree map[string]any) map[string]any {
	out := maps.Clone(tree)
	if v, ok := out["coe_name"]; ok {
		delete(out, "coe_name")
		if name, both := out["name"]; both && name != nil && !reflect.DeepEqual(name, v) {
			d.wrong("coe_name", "means the same as name and says something else; give one of them")
		} else {
			out["name"] = v
		}
	}
	if role, ok := out["specialization"].(string); ok {
		out["specialization"] = map[string]any{"role": role}
	}
	return out
}

// object fills a struct field by field; v must be settable.
func (d *decoder) object(path string, m map[string]any, v reflect.Value) {
	known := map[string]bool{}
	t := v.Type()
	for i := range t.NumField() {
		key := jsonName(t.Field(i))
		known[key] = true
		if in := m[key]; in != nil {
			d.value(child(path, key), in, v.Field(i))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !known[key] {
			d.unknown(path, key, m[key], t)
		}
	}
}

func (d *decoder) unknown(path, key string, value any, in reflect.Type) {
	at := child(path, key)
	readOnly := path == "" && slices.Contains(ReadOnlyFields, key)
	hint := ""
	if s := suggest(key, in); s != "" {
		hint = fmt.Sprintf("; did you mean %s?", s)
	}
	switch {
	case readOnly && d.mode == Strict:
		d.wrong(at, "is set by the portal and can't be given")
	case readOnly:
		d.warnings = append(d.warnings, at+" is set by the portal and was left out")
	case d.mode == Strict:
		d.wrong(at, "is not a field of the specification%s", hint)
	default:
		d.extra[at] = value
		d.warnings = append(d.warnings, at+" is not a field of the specification and was kept in extra"+hint)
	}
}

var (
	typeDuration = reflect.TypeFor[Duration]()
	typeQuantity = reflect.TypeFor[Quantity]()
	typePortRef  = reflect.TypeFor[PortRef]()
)

func (d *decoder) value(path string, in any, v reflect.Value) {
	switch v.Type() {
	case typeDuration:
		d.duration(path, in, v)
		return
	case typeQuantity:
		d.quantity(path, in, v)
		return
	case typePortRef:
		d.portRef(path, in, v)
		return
	}
	switch v.Kind() {
	case reflect.String:
		if s, ok := in.(string); ok {
			v.SetString(s)
			return
		}
		d.wrongType(path, "text", in)
	case reflect.Bool:
		if b, ok := in.(bool); ok {
			v.SetBool(b)
			return
		}
		d.wrongType(path, "true or false", in)
	case reflect.Int:
		if n, ok := whole(in); ok {
			v.SetInt(n)
			return
		}
		d.wrongType(path, "a whole number", in)
	case reflect.Float64:
		if f, ok := decimal(in); ok {
			v.SetFloat(f)
			return
		}
		d.wrongType(path, "a number", in)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(path, in, v.Elem())
	case reflect.Struct:
		if m, ok := in.(map[string]any); ok {
			d.object(path, m, v)
			return
		}
		d.wrongType(path, "a mapping", in)
	case reflect.Slice:
		d.list(path, in, v)
	case reflect.Map:
		d.mapping(path, in, v)
	case reflect.Interface:
		v.Set(reflect.ValueOf(in))
	}
}

func (d *decoder) list(path string, in any, v reflect.Value) {
	items, ok := in.([]any)
	if !ok {
		d.wrongType(path, "a list", in)
		return
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		at := path + "[" + strconv.Itoa(i) + "]"
		if item == nil {
			d.wrong(at, "must not be empty")
			continue
		}
		d.value(at, item, out.Index(i))
	}
	v.Set(out)
}

func (d *decoder) mapping(path string, in any, v reflect.Value) {
	m, ok := in.(map[string]any)
	if !ok {
		d.wrongType(path, "a mapping", in)
		return
	}
	if out, free := v.Addr().Interface().(*map[string]any); free {
		*out = m
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := child(path, key)
		elem := reflect.New(v.Type().Elem()).Elem()
		switch {
		case m[key] != nil:
			d.value(at, m[key], elem)
		case elem.Kind() == reflect.String:
			d.wrong(at, `must be text; write "" for an empty one`)
		}
		out.SetMapIndex(reflect.ValueOf(key), elem)
	}
	v.Set(out)
}

func (d *decoder) duration(path string, in any, v reflect.Value) {
	s, ok := in.(string)
	if !ok {
		d.wrong(path, "must be a duration with its unit, such as 500ms, 10s or 1m30s, not %s", describe(in))
		return
	}
	var dur Duration
	if err := dur.UnmarshalText([]byte(s)); err != nil {
		d.wrong(path, "%s", err)
		return
	}
	v.SetInt(int64(dur))
}

func (d *decoder) quantity(path string, in any, v reflect.Value) {
	text, ok := in.(string)
	if n, isWhole := whole(in); isWhole {
		text, ok = strconv.FormatInt(n, 10), true
	}
	if !ok {
		d.wrong(path, "must be a size such as 256Mi, 1Gi or 500M, not %s", describe(in))
		return
	}
	q, err := ParseQuantity(text)
	if err != nil {
		d.wrong(path, "%s", err)
		return
	}
	v.SetInt(int64(q))
}

func (d *decoder) portRef(path string, in any, v reflect.Value) {
	text, ok := in.(string)
	if n, isWhole := whole(in); isWhole {
		text, ok = strconv.FormatInt(n, 10), true
	}
	if !ok {
		d.wrong(path, "must be a port number or a reference such as $(PORT), not %s", describe(in))
		return
	}
	v.SetString(text)
}

func (d *decoder) wrongType(path, want string, got any) {
	hint := ""
	switch got.(type) {
	case int64, float64, int, bool:
		if want == "text" {
			hint = "; put it in quotes"
		}
		if want == "text" && path == "version" {
			hint = `; put it in quotes and write all three parts, as in "0.4.0"`
		}
	}
	d.wrong(path, "must be %s, not %s%s", want, describe(got), hint)
}

// whole gives a number without a fraction, however the tree holds it.
func whole(v any) (int64, bool) {
	switch n := v.(type) {
	case int64:
		return n, true
	case int:
		return int64(n), true
	case float64:
		if i := int64(n); n > -1<<53 && n < 1<<53 && float64(i) == n {
			return i, true
		}
	}
	return 0, false
}

func decimal(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case int:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return "the text " + quote(v)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	default:
		return fmt.Sprintf("the number %v", v)
	}
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// child is the path of a key below path: a.b, or a["x.y/z"] where the key would
// be misread.
func child(path, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return path + "[" + quote(key) + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// quote repeats a text of the user in a message, cut if it is long.
func quote(s string) string { return strconv.Quote(short(s)) }

func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
