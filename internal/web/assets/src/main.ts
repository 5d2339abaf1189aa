// The bundle of every page. The order matters: htmx is made global first, then
// its extension registers, then our own parts listen; dialogs take clicks on
// links before the navigation does.
import "./htmx";
import "../vendor/htmx/hx-csp.js";
import "./dialog";
import "./menu";
import "./toast";
import "./theme";
import "./nav";
import "./fleet";
import "./context";
import "./palette";
import "./keys";
import "./live";
import "./every";
import "./passkey";
import "./logs";
import "./tail";
import "./charts";
import "./editor";
import "./copy";
