// Toasts leave by themselves, except for those about errors and while they are
// being read.
const stay = 8000;
const most = 4;

const list = document.getElementById("toasts");

function leave(toast: Element): void {
  toast.classList.add("leaving");
  const gone = () => toast.remove();
  setTimeout(gone, 260);
}

function watch(toast: HTMLElement): void {
  const undo = toast.querySelector<HTMLElement>("form[data-until]");
  const until = undo?.dataset.until ? Date.parse(undo.dataset.until) - Date.now() : NaN;
  if (undo && until > 0) setTimeout(() => undo.remove(), until);
  if (toast.matches('[role="alert"]')) return;
  let timer = 0;
  const start = () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => leave(toast), undo ? stay * 1.5 : stay);
  };
  const hold = () => clearTimeout(timer);
  toast.addEventListener("pointerenter", hold);
  toast.addEventListener("pointerleave", start);
  toast.addEventListener("focusin", hold);
  toast.addEventListener("focusout", start);
  start();
}

// say shows a message that no answer of the server brings.
export function say(status: "error" | "warning" | "info" | "success", text: string, detail = ""): void {
  const toast = document.createElement("div");
  toast.className = "toast";
  toast.dataset.status = status;
  if (status === "error" || status === "warning") toast.setAttribute("role", "alert");
  const icon = document.createElement("span");
  icon.className = "status-icon";
  icon.dataset.status = status;
  icon.setAttribute("aria-hidden", "true");
  const body = document.createElement("div");
  body.className = "toast-text";
  const strong = document.createElement("strong");
  strong.textContent = text;
  body.append(strong);
  if (detail) {
    const more = document.createElement("span");
    more.className = "muted";
    more.textContent = detail;
    body.append(more);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "toast-close";
  close.dataset.dismiss = "";
  close.setAttribute("aria-label", "Dismiss");
  close.textContent = "×";
  toast.append(icon, body, close);
  list?.append(toast);
}

if (list) {
  for (const t of list.querySelectorAll<HTMLElement>(".toast")) watch(t);
  new MutationObserver((changes) => {
    for (const c of changes)
      for (const n of c.addedNodes) if (n instanceof HTMLElement && n.matches(".toast")) watch(n);
    const all = [...list.querySelectorAll(".toast:not(.leaving)")];
    for (const t of all.slice(0, Math.max(0, all.length - most))) leave(t);
  }).observe(list, { childList: true });
}

document.addEventListener("click", (e) => {
  const b = e.target instanceof Element ? e.target.closest("[data-dismiss]") : null;
  const toast = b?.closest(".toast");
  if (toast) leave(toast);
});

// What was undone can't be undone again.
document.addEventListener("htmx:after:request", (e) => {
  const toast = e.target instanceof Element ? e.target.closest(".toast") : null;
  if (toast && (e as CustomEvent).detail?.ctx?.response?.status < 400) leave(toast);
});

// No answer at all: htmx tells it only in the console. Parts of a page that load
// again by themselves say nothing; the sign of the connection does.
document.addEventListener("htmx:error", (e) => {
  const ctx = (e as CustomEvent).detail?.ctx;
  if (!ctx || ctx.response) return;
  if (ctx.request?.method !== "GET")
    say(
      "error",
      "The portal did not answer",
      ctx.request?.body?.has?.("idempotency_key")
        ? "Whether it did what you asked for is not known. Send it again when it is back: it is done once only."
        : "Nothing is known of what you asked for. Look before you try again.",
    );
  else if (ctx.sourceElement === document.body) say("error", "The portal did not answer", "You still see what was there before. Try again in a moment.");
});
