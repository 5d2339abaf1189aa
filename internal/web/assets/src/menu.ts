// Menus: the browser opens and closes them; this moves in them by keyboard and
// puts them beside their button where the browser can't.
const anchored = CSS.supports("position-area", "bottom");

const buttonOf = (menu: HTMLElement): HTMLElement | null =>
  document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);

const itemsOf = (menu: HTMLElement): HTMLElement[] =>
  [...menu.querySelectorAll<HTMLElement>('[role="menuitem"]')].filter(
    (i) => !i.hidden && !(i instanceof HTMLButtonElement && i.disabled) && i.getAttribute("aria-disabled") !== "true",
  );

function place(menu: HTMLElement): void {
  const at = buttonOf(menu)?.getBoundingClientRect();
  if (!at) return;
  const size = menu.getBoundingClientRect();
  const below = at.bottom + size.height + 12 < innerHeight;
  menu.style.setProperty("top", `${Math.max(8, below ? at.bottom : at.top - size.height - 12)}px`);
  menu.style.setProperty("left", `${Math.max(8, Math.min(at.right - size.width, innerWidth - size.width - 8))}px`);
}

document.addEventListener(
  "toggle",
  (e) => {
    const menu = e.target;
    if (!(menu instanceof HTMLElement) || !menu.matches(".menu, .panel")) return;
    const opened = (e as ToggleEvent).newState === "open";
    if (!opened) return;
    if (!anchored) place(menu);
    if (menu.matches('[role="menu"]')) itemsOf(menu)[0]?.focus();
  },
  true,
);

document.addEventListener("keydown", (e) => {
  if (!(e.target instanceof HTMLElement)) return;
  const menu = e.target.closest<HTMLElement>('[role="menu"]');
  if (!menu) return;
  const items = itemsOf(menu);
  const at = items.indexOf(e.target);
  let to: HTMLElement | undefined;
  switch (e.key) {
    case "ArrowDown":
      to = items[(at + 1) % items.length];
      break;
    case "ArrowUp":
      to = items.at(at <= 0 ? -1 : at - 1);
      break;
    case "Home":
      to = items[0];
      break;
    case "End":
      to = items.at(-1);
      break;
    case "Tab":
      menu.hidePopover();
      buttonOf(menu)?.focus();
      return;
    default: {
      if (e.key.length !== 1 || e.ctrlKey || e.metaKey || e.altKey || e.key === " ") return;
      const later = [...items.slice(at + 1), ...items.slice(0, at + 1)];
      to = later.find((i) => i.textContent?.trim().toLowerCase().startsWith(e.key.toLowerCase()));
    }
  }
  e.stopPropagation();
  if (to) {
    e.preventDefault();
    to.focus();
  }
});

// A menu's work is done with the choice.
document.addEventListener("click", (e) => {
  const item = e.target instanceof Element ? e.target.closest('[role="menuitem"]') : null;
  const menu = item?.closest<HTMLElement>("[popover]");
  if (menu && item?.getAttribute("aria-disabled") !== "true") setTimeout(() => menu.matches(":popover-open") && menu.hidePopover());
});
