package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestField(t *testing.T) {
	f := show(t, components.Field(components.FieldProps{Label: "Replicas", Name: "replicas", Type: "number", Value: "-1", Hint: "How many run.", Error: "must be from 0 to 100", Required: true, MaxLength: 3}))
	f.has(`for="field-replicas"`, `id="field-replicas"`, `type="number"`, `value="-1"`, " required", `maxlength="3"`, `aria-invalid="true"`,
		`aria-describedby="field-replicas-hint field-replicas-error"`, `id="field-replicas-hint"`, `id="field-replicas-error"`, "must be from 0 to 100")
	show(t, components.Field(components.FieldProps{Label: "Name", Name: "name", Value: evil})).lacks("<script", "aria-invalid", "aria-describedby", `"onload="`)
	choice := show(t, components.Field(components.FieldProps{Label: "Runtime", Name: "r", Value: "b", Options: []components.Option{{Value: "a", Label: "A", Disabled: true}, {Value: "b", Label: "B"}}}))
	choice.inOrder("<select", `<option value="a" disabled`, `<option value="b" selected`)
	show(t, components.Field(components.FieldProps{Label: "Spec", Name: "s", Rows: 4, Code: true, Value: "</textarea><b>"})).inOrder("<textarea", `spellcheck="false"`, "&lt;/textarea&gt;")
	show(t, components.Check(components.CheckProps{Label: "Again", Name: "again", Value: "1", Checked: true, Hint: "By itself."})).has(`type="checkbox"`, " checked", "Again", "By itself.")
}
