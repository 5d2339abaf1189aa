// Charts under the pointer: the values at that time in words, the same time in all
// charts of the page, and a stretch that is dragged over becomes the page's time.
// Without scripts the page has links and tables for the same.
interface Data {
  start: number; // Unix seconds
  step: number;
  names: string[];
  texts: string[][];
}

const SVG = "http://www.w3.org/2000/svg";
const LEAST = 0.01; // of the width: less is a click
const read = new WeakMap<Element, { from: string; data: Data }>();

// dataOf gives what a chart shows; a part that was loaded again has other data.
function dataOf(svg: Element): Data {
  const from = svg.getAttribute("data-chart") ?? "";
  const known = read.get(svg);
  if (known?.from === from) return known.data;
  const data = JSON.parse(from) as Data;
  read.set(svg, { from, data });
  return data;
}

const chartOf = (e: Event): SVGSVGElement | null =>
  e.target instanceof Element ? e.target.closest<SVGSVGElement>("svg[data-chart]") : null;

// place is where the pointer is, from 0 at the left to 1 at the right.
function place(svg: Element, e: MouseEvent): number {
  const box = svg.getBoundingClientRect();
  return Math.min(1, Math.max(0, (e.clientX - box.left) / box.width));
}

// draw puts a rectangle of our own into a chart, in its units.
function draw(svg: SVGSVGElement, name: string, from: number, to: number): void {
  let rect = svg.querySelector<SVGRectElement>(`.${name}`);
  if (!rect) {
    rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("class", name);
    rect.setAttribute("y", "0");
    svg.append(rect);
  }
  const box = svg.viewBox.baseVal;
  rect.setAttribute("height", String(box.height));
  rect.setAttribute("x", String(Math.min(from, to) * box.width));
  rect.setAttribute("width", String(Math.max(Math.abs(to - from) * box.width, 1)));
}

function wipe(name: string): void {
  for (const el of document.querySelectorAll(`svg[data-chart] .${name}`)) el.remove();
}

// tell writes the values at a place below every chart.
function tell(at: number): void {
  for (const svg of document.querySelectorAll<SVGSVGElement>("svg[data-chart]")) {
    const out = svg.parentElement?.querySelector("[data-chart-at]");
    if (!out) continue;
    const d = dataOf(svg);
    const n = (d.texts[0] ?? []).length;
    const i = Math.round(at * (n - 1));
    draw(svg, "chart-cursor", at, at);
    const time = new Date((d.start + i * d.step) * 1000).toISOString().slice(11, 19);
    out.textContent = `${time} UTC: ${d.names.map((name, k) => `${name} ${d.texts[k]?.[i] ?? "–"}`).join(", ")}`;
  }
}

function quiet(): void {
  wipe("chart-cursor");
  for (const out of document.querySelectorAll("[data-chart-at]")) out.textContent = "";
}

let drag: { svg: SVGSVGElement; from: number } | null = null;

document.addEventListener("pointerdown", (e) => {
  const svg = chartOf(e);
  if (!svg || e.button !== 0 || e.pointerType === "touch") return;
  drag = { svg, from: place(svg, e) };
  e.preventDefault();
});

document.addEventListener("pointermove", (e) => {
  if (drag) {
    draw(drag.svg, "chart-brush", drag.from, place(drag.svg, e));
    return;
  }
  const svg = chartOf(e);
  if (svg) tell(place(svg, e));
  else if (document.querySelector(".chart-cursor")) quiet();
});

document.addEventListener("pointerup", (e) => {
  if (!drag) return;
  const { svg, from } = drag;
  const to = place(svg, e);
  drag = null;
  wipe("chart-brush");
  const where = svg.getAttribute("data-chart-zoom");
  if (!where || Math.abs(to - from) < LEAST) return;
  const d = dataOf(svg);
  const length = ((d.texts[0] ?? []).length - 1) * d.step;
  const time = (share: number): string => new Date((d.start + share * length) * 1000).toISOString().slice(0, 19) + "Z";
  location.assign(where.replace("from=FROM", `from=${encodeURIComponent(time(Math.min(from, to)))}`).replace("to=TO", `to=${encodeURIComponent(time(Math.max(from, to)))}`));
});

document.addEventListener("pointercancel", () => {
  drag = null;
  wipe("chart-brush");
});

document.addEventListener("keydown", (e) => {
  if (e.key !== "Escape" || !drag) return;
  drag = null;
  wipe("chart-brush");
});
