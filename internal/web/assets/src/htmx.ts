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

export default htmx;
