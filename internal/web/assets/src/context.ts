// The context: the agent that pages are about. The server renders it from the
// address or from a cookie; this changes the cookie without loading the document
// again, tells other tabs, and clears it when its agent goes.
import htmx from "./htmx";
import { go } from "./nav";
import { say } from "./toast";

const WAIT_MS = 120;
const channel = new BroadcastChannel("portal:context");

const selector = () => document.querySelector<HTMLElement>("[data-context]");
const chosen = () => selector()?.dataset.context ?? "";
const byAddress = () => selector()?.hasAttribute("data-context-url") ?? false;

function store(id: string): void {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `portal_context=${encodeURIComponent(id)}; Path=/; Max-Age=${id ? 31536000 : 0}; SameSite=Lax${secure}`;
}

// again shows this page with the context as it is now. Of one that shows all
// agents anyhow, only the selector changes.
function again(withoutAgent: boolean): void {
  if (document.querySelector("[data-whole]") && !byAddress()) {
    const shown = htmx.ajax("GET", "/context?selector=1", { source: "#page", target: ".context", swap: "outerHTML" } as never) as unknown as Promise<void>;
    void Promise.resolve(shown).then(() => document.querySelector<HTMLElement>(".context-open")?.focus({ preventScroll: true }));
    return;
  }
  const url = new URL(location.href);
  if (withoutAgent) url.searchParams.delete("agent");
  void go(url.href, "replace");
}

function choose(id: string): void {
  store(id);
  channel.postMessage(id);
  again(true);
}

document.addEventListener("submit", (e) => {
  const form = e.target;
  const button = (e as SubmitEvent).submitter;
  if (!(form instanceof HTMLFormElement) || !form.matches("[data-context-form]") || !(button instanceof HTMLButtonElement)) return;
  if (form.querySelector('input[name="next"]')) return; // the page without scripts leads on by itself
  e.preventDefault();
  document.getElementById("context-panel")?.hidePopover();
  choose(button.value);
});

// Another tab chose: follow, unless this page's address says otherwise.
channel.addEventListener("message", () => {
  if (!byAddress()) again(false);
});

// The agent of the context goes: say so and show all again.
document.addEventListener("portal:event", (e) => {
  const { event, data } = (e as CustomEvent<{ event: string; data?: { agent_id?: string; new_state?: string } }>).detail;
  const id = chosen();
  if (id === "" || data?.agent_id !== id) return;
  const revoked = event === "agent:state_changed" && data.new_state === "REVOKED";
  if (!revoked && event !== "agent:deleted") return;
  const name = selector()?.dataset.contextName ?? id;
  say("warning", `${name} was ${revoked ? "revoked" : "deleted"}`, "The context was cleared; pages show all agents again.");
  store("");
  channel.postMessage("");
  again(true);
});

// The list of agents in the panel.
let timer = 0;

function look(box: HTMLInputElement): void {
  void htmx.ajax("GET", `/context?${new URLSearchParams({ q: box.value })}`, { source: "#context-results", target: "#context-results", swap: "innerHTML" } as never);
}

document.addEventListener("input", (e) => {
  const box = e.target;
  if (!(box instanceof HTMLInputElement) || box.dataset.contextSearch === undefined) return;
  clearTimeout(timer);
  timer = window.setTimeout(() => look(box), WAIT_MS);
});

document.addEventListener(
  "toggle",
  (e) => {
    if (!(e.target instanceof HTMLElement) || e.target.id !== "context-panel" || (e as ToggleEvent).newState !== "open") return;
    const box = e.target.querySelector<HTMLInputElement>("[data-context-search]");
    box?.focus();
    if (box) look(box);
  },
  true,
);

// Arrow keys lead from the box into the list and through it; Enter takes the first.
document.addEventListener("keydown", (e) => {
  const panel = e.target instanceof Element ? e.target.closest("#context-panel") : null;
  if (!panel || !["ArrowDown", "ArrowUp", "Enter"].includes(e.key)) return;
  const list = [...panel.querySelectorAll<HTMLElement>("#context-results button")];
  const at = list.indexOf(e.target as HTMLElement);
  if (e.key === "Enter") {
    if (at >= 0 || !(e.target instanceof HTMLInputElement)) return;
    e.preventDefault();
    list.find((b) => (b as HTMLButtonElement).value !== "")?.click();
    return;
  }
  e.preventDefault();
  const to = e.key === "ArrowDown" ? list[Math.min(list.length - 1, at + 1)] : at > 0 ? list[at - 1] : panel.querySelector<HTMLElement>("[data-context-search]");
  to?.focus();
});
