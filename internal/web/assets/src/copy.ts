// Whatever has data-copy puts that text on the clipboard.
import { say } from "./toast";

document.addEventListener("click", (e) => {
  const b = e.target instanceof Element ? e.target.closest<HTMLElement>("[data-copy]") : null;
  if (!b) return;
  void (navigator.clipboard?.writeText(b.dataset.copy ?? "") ?? Promise.reject(new Error("no clipboard"))).then(
    () => say("success", "Copied"),
    // Without TLS browsers let no page copy.
    () => say("warning", "The browser does not let this page copy", "Select the text and press Ctrl-C, or open the portal over TLS."),
  );
});
