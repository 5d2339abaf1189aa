// The theme and the width of the sidebar: forms that work without this; with it
// they take effect at once, in other tabs too.
const channel = new BroadcastChannel("portal:look");
const root = document.documentElement;

function remember(name: string, value: string): void {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `portal_${name}=${value}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
}

function apply(name: string, value: string): void {
  root.dataset[name] = value;
  for (const b of document.querySelectorAll<HTMLElement>(`button[name="${name}"]`)) {
    if (b.dataset.toggle !== undefined) (b as HTMLButtonElement).value = value === "" ? b.dataset.toggle : "";
    else b.setAttribute("aria-pressed", String((b as HTMLButtonElement).value === value));
  }
}

// look changes how the portal looks: "theme" or "nav".
export function look(name: "theme" | "nav", value: string): void {
  remember(name, value);
  apply(name, value);
  channel.postMessage({ name, value });
}

channel.addEventListener("message", (e: MessageEvent<{ name: string; value: string }>) => {
  apply(e.data.name, e.data.value);
});

document.addEventListener("submit", (e) => {
  const form = e.target;
  const button = (e as SubmitEvent).submitter;
  if (!(form instanceof HTMLFormElement) || !form.matches("[data-look]") || !(button instanceof HTMLButtonElement)) return;
  e.preventDefault();
  look(button.name as "theme" | "nav", button.value);
});
