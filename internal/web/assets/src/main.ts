// The bundle of every page. The order matters: htmx is made global first, then
// its extension registers, then our own parts listen.
import "./htmx";
import "../vendor/htmx/hx-csp.js";
import "./nav";
import "./live";
import "./passkey";
