package browser

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// spot is where an element can be clicked.
type spot struct {
	X   float64 `json:"x"`
	Y   float64 `json:"y"`
	Why string  `json:"why"` // it can't be clicked, else empty
}

// locate finds the middle of the first visible element that matches, after
// scrolling to it, and whether a click there would reach it.
const locate = `(selector => {
	const all = [...document.querySelectorAll(selector)];
	if (!all.length) return {x: 0, y: 0, why: 'nothing matches'};
	const e = all.find(e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length);
	if (!e) return {x: 0, y: 0, why: 'it is not visible'};
	if (e.disabled) return {x: 0, y: 0, why: 'it is disabled'};
	// On a busy machine it stands still for long between two steps of its way.
	if (document.getAnimations().some(a => a.playState === 'running' && a.effect.getComputedTiming().endTime < Infinity && a.effect.target?.contains(e))) return {x: 0, y: 0, why: 'it moves'};
	let r = e.getBoundingClientRect();
	if (r.top < 0 || r.left < 0 || r.bottom > innerHeight || r.right > innerWidth) e.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});
	r = e.getClientRects()[0];
	const x = r.left + r.width / 2, y = r.top + r.height / 2, top = document.elementFromPoint(x, y);
	const reached = top && (e === top || e.contains(top) || top.closest('label')?.control === e);
	return {x, y, why: reached ? '' : 'it is covered by ' + (top?.outerHTML.slice(0, 120) ?? 'nothing')};
})`

// Click moves the mouse onto the first visible element that matches and clicks,
// once the element is there, at rest, and not covered.
func (t *Tab) Click(selector string) error {
	return t.at(selector, func(ctx context.Context, s spot) error {
		return chromedp.Do(ctx, chromedp.MouseClickXY(s.X, s.Y))
	})
}

// at waits until the element can be reached with the mouse, and does fn there.
func (t *Tab) at(selector string, fn func(ctx context.Context, s spot) error) error {
	expression := locate + "(" + strconv.Quote(selector) + ")"
	return t.do(func(ctx context.Context) error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		before := spot{Why: "not looked at yet"}
		for {
			now, err := chromedp.Run(ctx, chromedp.Evaluate[spot](expression))
			if err != nil {
				now.Why = err.Error()
			}
			if now.Why == "" && now == before {
				return fn(ctx, now)
			}
			before = now
			select {
			case <-ctx.Done():
				return fmt.Errorf("can't reach %s: %s\n%s", selector, before.Why, t.excerpt())
			case <-tick.C:
			}
		}
	})
}

// keys are the names of keys that are no characters.
var keys = map[string]string{
	"Tab": kb.Tab, "Enter": kb.Enter, "Escape": kb.Escape, "Space": " ", "Backspace": kb.Backspace, "Delete": kb.Delete,
	"ArrowDown": kb.ArrowDown, "ArrowUp": kb.ArrowUp, "ArrowLeft": kb.ArrowLeft, "ArrowRight": kb.ArrowRight, "Home": kb.Home, "End": kb.End,
}

var modifiers = map[string]chromedp.Modifier{
	"Control": chromedp.ModifierCtrl, "Shift": chromedp.ModifierShift, "Alt": chromedp.ModifierAlt, "Meta": chromedp.ModifierMeta,
}

// Press presses keys one after the other, e.g. "Tab", "Control+k", "?".
func (t *Tab) Press(names ...string) error {
	return t.do(func(ctx context.Context) error {
		for _, name := range names {
			parts := strings.Split(name, "+")
			var held []chromedp.Modifier
			for _, m := range parts[:len(parts)-1] {
				held = append(held, modifiers[m])
			}
			key := parts[len(parts)-1]
			if k, ok := keys[key]; ok {
				key = k
			}
			if err := stroke(ctx, key, held); err != nil {
				return fmt.Errorf("press %s: %w", name, err)
			}
		}
		return nil
	})
}

// stroke presses one key as a keyboard does: the text comes with the key, so that
// a page which takes the key for itself gets no text. Sent as an event of its own
// it would come all the same.
func stroke(ctx context.Context, key string, held []chromedp.Modifier) error {
	for _, r := range key {
		text := ""
		events := kb.Encode(r)
		for _, e := range events {
			text += e.Text
		}
		for _, e := range events {
			if e.Type == kb.KeyChar {
				continue
			}
			for _, m := range held {
				e.Modifiers |= int64(m)
			}
			if e.Type == kb.KeyDown && e.Modifiers&^int64(chromedp.ModifierShift) == 0 {
				e.Text, e.UnmodifiedText = text, text
			}
			if _, err := chromedp.Call(ctx, input.DispatchKeyEvent, *e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Type types text where the focus is.
func (t *Tab) Type(text string) error {
	return t.do(func(ctx context.Context) error { return chromedp.Do(ctx, chromedp.KeyEvent(text)) })
}

// Fill clicks a field and types text over what it holds.
func (t *Tab) Fill(selector, text string) error {
	if err := t.Click(selector); err != nil {
		return err
	}
	if err := t.Wait("the focus on "+selector, "document.activeElement?.matches("+strconv.Quote(selector)+")"); err != nil {
		return err
	}
	if _, err := Eval[bool](t, `(document.activeElement.select?.(), true)`); err != nil {
		return err
	}
	if text == "" {
		return t.Press("Delete")
	}
	return t.Type(text)
}

// Focus is the element that has the focus.
type Focus struct {
	Tag     string `json:"tag"`
	Name    string `json:"name"`    // what a screen reader would call it, roughly
	Visible bool   `json:"visible"` // it is seen to have the focus
	Inside  bool   `json:"inside"`  // it lies within the window
}

// Focused gives what has the focus.
func (t *Tab) Focused() (Focus, error) {
	return Eval[Focus](t, `(() => {
		const e = document.activeElement ?? document.body, s = getComputedStyle(e), r = e.getBoundingClientRect();
		const name = e.getAttribute('aria-label') ?? (e.labels?.[0] ?? e).innerText ?? e.value ?? '';
		return {tag: e.localName, name: name.trim().replace(/\s+/g, ' ').slice(0, 80),
			visible: (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== 'none',
			inside: r.bottom > 0 && r.right > 0 && r.top < innerHeight && r.left < innerWidth};
	})()`)
}
