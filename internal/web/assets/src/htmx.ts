// htmx as the extension expects to find it.
import htmx from "../vendor/htmx/htmx.esm.min.js";

declare global {
  interface Window {
    htmx: typeof htmx;
  }
}

window.htmx = htmx;
htmx.config.includeIndicatorCSS = false; // an inline style sheet, which the policy forbids
htmx.config.defaultTimeout = 30000;

// htmx looks at every node below what it is given. Lists of hundreds of items have
// nothing for it in them; they are marked with data-plain and left out. What has
// hx- attributes itself must not contain such a list.
document.addEventListener("htmx:before:process", (e) => {
  const root = e.target;
  if (!(root instanceof Element)) return;
  if (root.closest("[data-plain]")) e.preventDefault();
  else if (root.querySelector("[data-plain]")) {
    e.preventDefault();
    for (const child of root.children) (htmx as unknown as { process(el: Element): void }).process(child);
  }
});

// Networks change and portals restart. What is harmless to send again is: questions,
// and forms with a key, which the portal acts on once.
const pauses = [250, 1000, 3000]; // ms before each further try

document.addEventListener("htmx:before:request", (e) => {
  const ctx = (e as CustomEvent).detail?.ctx;
  const body = ctx?.request.body;
  if (ctx?.request.method !== "GET" && !(body instanceof URLSearchParams && body.has("idempotency_key"))) return;
  const send = ctx.fetch as typeof fetch;
  ctx.fetch = async (url: string, request: RequestInit) => {
    for (const pause of pauses) {
      try {
        return await send(url, request);
      } catch (err) {
        // Everything but a lost connection is somebody's will.
        if (!(err instanceof TypeError) || request.signal?.aborted) throw err;
        await new Promise((done) => setTimeout(done, pause));
      }
    }
    return send(url, request);
  };
});

export default htmx;
