// Dialogs: whatever lands in #dialog-slot is opened, and a link with data-dialog
// fetches what lands there.
import htmx from "./htmx";

const slot = (): HTMLElement | null => document.getElementById("dialog-slot");
let opener: HTMLElement | null = null;
let coming = ""; // address of what is on its way

// open shows the fragment at the address in a dialog.
export function open(url: string, from: HTMLElement | null): void {
  if (url === coming) return; // the second click of two
  coming = url;
  const menu = from?.closest<HTMLElement>("[popover]");
  if (menu?.matches(":popover-open")) {
    from = document.querySelector<HTMLElement>(`[popovertarget="${CSS.escape(menu.id)}"]`);
    menu.hidePopover();
  }
  opener = from;
  from?.setAttribute("aria-busy", "true");
  document.documentElement.dataset.busy = "true";
  const done = htmx.ajax("GET", url, { target: "#dialog-slot", swap: "innerHTML" } as never) as unknown as Promise<void>;
  void Promise.resolve(done).finally(() => {
    coming = "";
    from?.removeAttribute("aria-busy");
    delete document.documentElement.dataset.busy;
  });
}

// Messages stand in front of the page; while a dialog is open, in the dialog: what is
// outside of it lies behind its veil and can't be clicked.
const messages = document.getElementById("toasts");
const home = messages?.parentElement;

function show(dialog: HTMLDialogElement): void {
  if (dialog.open) return;
  opener ??= document.activeElement instanceof HTMLElement ? document.activeElement : null;
  const back = opener;
  opener = null;
  dialog.showModal();
  if (messages) dialog.append(messages);
  if (!dialog.querySelector("[autofocus]")) dialog.querySelector<HTMLElement>("h2")?.focus();
  check(dialog);
  dialog.addEventListener("close", () => {
    if (messages && dialog.contains(messages)) home?.append(messages);
    dialog.remove();
    if (back?.isConnected) back.focus();
  });
}

// check holds a button back until the phrase that its form asks for is typed.
function check(root: ParentNode): void {
  for (const field of root.querySelectorAll<HTMLInputElement>("input[data-phrase]")) {
    const button = field.form?.querySelector<HTMLButtonElement>(".button-danger, .button-primary");
    if (button) button.disabled = field.value !== field.dataset.phrase;
  }
}

document.addEventListener("input", (e) => {
  if (e.target instanceof HTMLInputElement && e.target.dataset.phrase && e.target.form) check(e.target.form);
});

document.addEventListener("click", (e) => {
  if (!(e.target instanceof Element) || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey) return;
  const close = e.target.closest("[data-close]");
  const around = close?.closest("dialog");
  if (around) {
    e.preventDefault();
    around.close();
    return;
  }
  const link = e.target.closest<HTMLAnchorElement>("a[data-dialog][href]");
  if (link) {
    e.preventDefault();
    open(link.href, link);
  }
});

// A click beside the dialog closes it, where the browser does not do that itself.
document.addEventListener("pointerdown", (e) => {
  const d = e.target;
  if (!(d instanceof HTMLDialogElement) || "closedBy" in d) return;
  const r = d.getBoundingClientRect();
  if (e.clientX < r.left || e.clientX > r.right || e.clientY < r.top || e.clientY > r.bottom) d.close();
});

document.addEventListener("htmx:after:request", (e) => {
  const ctx = (e as CustomEvent).detail?.ctx;
  const form = e.target instanceof Element ? e.target.closest("form[data-closes]") : null;
  if (form && ctx?.response?.status < 400) form.closest("dialog")?.close();
});

const place = slot();
if (place) {
  new MutationObserver(() => {
    if (messages && !messages.isConnected) home?.append(messages); // another dialog took the place of theirs
    for (const d of place.children) if (d instanceof HTMLDialogElement) show(d);
  }).observe(place, { childList: true });
}
