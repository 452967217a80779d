// Charts over one axis of time. A chart is a picture with a name, a legend that tells the values of
// the moment that is looked at, and a table of what it shows.

import { draw, make, morph, set, write } from "./dom.js";
import { time, long } from "./format.js";

const HEIGHT = 150;
const ROOM = { top: 12, right: 6, bottom: 18, left: 44 };

/** The moment that all charts look at; none: the latest. */
let looked = null;
const charts = new Set();

/**
 * A chart of series over time: `{ title, unit, series: [{ name, label, style, area }], write }`.
 * `write` tells a value in words.
 */
export class Chart {
  constructor(spec, announce) {
    this.spec = spec;
    this.announce = announce;
    this.keys = make("ul", { class: "keys" });
    this.svg = draw("svg", { "aria-hidden": "true" });
    this.plot = make("div", { class: "plot", role: "img", tabindex: "0" }, this.svg);
    this.table = make("div");
    this.details = make("details", { class: "figures" }, make("summary", {}, "As a table"), this.table);
    this.details.addEventListener("toggle", () => this.tabulate());
    const title = make("h3", {}, spec.title, make("small", {}, spec.unit));
    this.element = make("figure", { class: "chart", "data-chart": spec.id }, title, this.keys, this.plot, this.details);
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => lookAt(null));
    this.plot.addEventListener("keydown", (event) => this.walk(event));
    this.plot.addEventListener("blur", () => lookAt(null));
    new ResizeObserver(() => this.paint()).observe(this.plot);
    charts.add(this);
  }

  /** Takes figures: a history, the seconds to be shown, what has changed and when. */
  show(history, seconds, changes) {
    const [begin, end] = history.span(seconds);
    this.at = history.at.slice(begin, end);
    const series = typeof this.spec.series === "function" ? this.spec.series(history) : this.spec.series;
    this.series = series.map((one) => ({ ...one, values: history.column(one.name).slice(begin, end) }));
    this.until = this.at.at(-1) ?? Date.now();
    this.from = this.until - seconds * 1000;
    this.changes = changes.filter((change) => change.at >= this.from && change.at <= this.until + 2000);
    this.paint();
    this.tabulate();
  }

  paint() {
    if (!this.at) return;
    const width = Math.max(120, this.plot.clientWidth);
    const inner = { w: width - ROOM.left - ROOM.right, h: HEIGHT - ROOM.top - ROOM.bottom };
    const known = this.series.flatMap((one) => one.values.filter((value) => value !== null));
    const [top, step] = scale(Math.max(0, ...known), this.spec.least ?? 1);
    this.x = (at) => ROOM.left + ((at - this.from) / (this.until - this.from)) * inner.w;
    this.y = (value) => ROOM.top + inner.h * (1 - value / top);
    const parts = [];
    for (let value = 0; value <= top + step / 2; value += step) {
      const y = round(this.y(value));
      parts.push(draw("line", { class: value === 0 ? "axis" : "grid", x1: ROOM.left, x2: width - ROOM.right, y1: y, y2: y }));
      parts.push(draw("text", { class: "tick", x: ROOM.left - 6, y: y + 3.5, "text-anchor": "end" }, this.spec.write(value)));
    }
    parts.push(...this.times(width));
    for (const change of this.changes) parts.push(...flag(this.x(change.at), change, inner.h));
    for (const one of this.series) parts.push(...this.line(one));
    if (known.length === 0) {
      parts.push(draw("text", { class: "none", x: ROOM.left + inner.w / 2, y: ROOM.top + inner.h / 2, "text-anchor": "middle" }, this.spec.nothing ?? "nothing yet"));
    }
    const index = this.index();
    if (looked !== null && index !== null) parts.push(...this.hair(index, inner.h));
    set(this.svg, "viewBox", `0 0 ${width} ${HEIGHT}`);
    morph(this.svg, parts);
    this.legend(index);
  }

  times(width) {
    const span = this.until - this.from;
    const words = [[0, ago(span), "start"], [0.5, ago(span / 2), "middle"], [1, "now", "end"]];
    return words.map(([part, word, anchor]) =>
      draw("text", { class: "tick", x: round(ROOM.left + part * (width - ROOM.left - ROOM.right)), y: HEIGHT - 4, "text-anchor": anchor }, word));
  }

  line(one) {
    let path = "";
    let area = "";
    let begun = null;
    let last = null;
    const floor = round(this.y(0));
    const close = () => {
      if (begun !== null && one.area) area += ` L${round(this.x(this.at[last]))} ${floor} L${round(this.x(this.at[begun]))} ${floor} Z`;
      begun = null;
    };
    one.values.forEach((value, index) => {
      if (value === null) return close();
      const spot = `${round(this.x(this.at[index]))} ${round(this.y(value))}`;
      // A lone value is a dot: a path of no length with round ends.
      path += begun === null ? `M${spot} L${spot}` : ` L${spot}`;
      if (one.area) area += begun === null ? `M${spot}` : ` L${spot}`;
      if (begun === null) begun = index;
      last = index;
    });
    close();
    const parts = [];
    if (one.area && area) parts.push(draw("path", { class: "area", d: area }));
    if (path) parts.push(draw("path", { class: `series c-${one.style} ${one.stroke ?? ""}`, d: path }));
    return parts;
  }

  hair(index, height) {
    const x = round(this.x(this.at[index]));
    const parts = [draw("line", { class: "hair", x1: x, x2: x, y1: ROOM.top, y2: ROOM.top + height })];
    for (const one of this.series) {
      const value = one.values[index];
      if (value !== null && value !== undefined) parts.push(draw("circle", { class: `bead f-${one.style}`, cx: x, cy: round(this.y(value)), r: 3.5 }));
    }
    return parts;
  }

  /** Which sample is looked at. */
  index() {
    if (this.at.length === 0) return null;
    if (looked === null) return this.at.length - 1;
    let best = 0;
    this.at.forEach((at, index) => {
      if (Math.abs(at - looked) < Math.abs(this.at[best] - looked)) best = index;
    });
    return best;
  }

  legend(index) {
    const items = this.series.map((one) => {
      const key = draw("svg", { viewBox: "0 0 16 8", "aria-hidden": "true" },
        draw("line", { class: `series c-${one.style} ${one.stroke ?? ""}`, x1: 1, x2: 15, y1: 4, y2: 4 }));
      const value = index === null ? null : (one.values[index] ?? null);
      return make("li", { "data-series": one.name }, key, one.label, make("b", {}, this.spec.write(value)));
    });
    if (looked !== null && index !== null) items.push(make("li", {}, time(this.at[index])));
    morph(this.keys, items);
    set(this.plot, "aria-label", `${this.spec.title}, ${this.spec.unit}, over the last ${long(this.until - this.from)}. ${this.words(this.at.length - 1)}. Arrow keys move in time.`);
  }

  words(index) {
    if (index < 0) return "No figures yet";
    return this.series.map((one) => `${one.label} ${this.spec.write(one.values[index] ?? null)}`).join(", ");
  }

  /** What is shown, in words: a row a series. */
  tabulate() {
    if (!this.details.open || !this.at) return;
    const rows = this.series.map((one) => {
      const known = one.values.filter((value) => value !== null);
      const mean = known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
      const cells = [known.length ? Math.min(...known) : null, mean, known.length ? Math.max(...known) : null, one.values.at(-1) ?? null];
      return make("tr", {}, make("th", { scope: "row" }, one.label), ...cells.map((cell) => make("td", { class: "n" }, this.spec.write(cell))));
    });
    const head = ["", "least", "mean", "most", "now"].map((word, at) => make("th", { scope: "col", class: at ? "n" : null }, word || make("span", { class: "hidden" }, "series")));
    morph(this.table, [make("table", {}, make("caption", { class: "hidden" }, `${this.spec.title}, ${this.spec.unit}`), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows))]);
  }

  point(event) {
    if (!this.at?.length) return;
    const box = this.plot.getBoundingClientRect();
    const inner = box.width - ROOM.left - ROOM.right;
    const part = Math.min(1, Math.max(0, (event.clientX - box.left - ROOM.left) / inner));
    lookAt(this.from + part * (this.until - this.from));
  }

  walk(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: 15, PageDown: -15, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") return lookAt(null);
    const step = steps[event.key];
    if (step === undefined || !this.at?.length) return;
    event.preventDefault();
    const index = Math.min(this.at.length - 1, Math.max(0, (this.index() ?? 0) + step));
    lookAt(this.at[index]);
    const near = this.changes.find((change) => Math.abs(change.at - this.at[index]) < 1000);
    this.announce(`${time(this.at[index])}: ${this.words(index)}${near ? `. ${near.words}` : ""}`);
  }
}

function lookAt(at) {
  if (at === looked) return;
  looked = at;
  for (const chart of charts) chart.paint();
}

function flag(x, change, height) {
  x = round(x);
  return [
    draw("g", { "data-change": change.what },
      draw("title", {}, `${time(change.at)}: ${change.words}`),
      draw("line", { class: "mark", x1: x, x2: x, y1: ROOM.top - 3, y2: ROOM.top + height }),
      draw("path", { class: "flag", d: `M${x - 4} ${ROOM.top - 10} h8 l-4 7 z` })),
  ];
}

/** A chart of bars: `{ title, unit, words }`; one bar a kind. */
export class Bars {
  constructor(spec) {
    this.spec = spec;
    this.svg = draw("svg", { "aria-hidden": "true" });
    this.plot = make("div", { class: "plot", role: "img" }, this.svg);
    this.note = make("p", { class: "keys quiet" });
    this.table = make("div");
    const details = make("details", { class: "figures" }, make("summary", {}, "As a table"), this.table);
    const title = make("h3", {}, spec.title, make("small", {}, spec.unit));
    this.element = make("figure", { class: "chart", "data-chart": spec.id }, title, this.note, this.plot, details);
    new ResizeObserver(() => this.paint()).observe(this.plot);
  }

  /** Takes pairs of a label and a count. */
  show(bars, note) {
    this.bars = bars;
    write(this.note, note);
    this.paint();
    const rows = bars.map(([label, value]) => make("tr", {}, make("th", { scope: "row" }, label), make("td", { class: "n" }, this.spec.write(value))));
    const head = make("tr", {}, make("th", { scope: "col" }, this.spec.of), make("th", { scope: "col", class: "n" }, this.spec.what));
    morph(this.table, [make("table", {}, make("caption", { class: "hidden" }, this.spec.title), make("thead", {}, head), make("tbody", {}, ...rows))]);
  }

  paint() {
    if (!this.bars) return;
    const width = Math.max(120, this.plot.clientWidth);
    const room = { left: 4, right: 4, top: 16, bottom: 18 };
    const height = HEIGHT - room.top - room.bottom;
    const most = Math.max(...this.bars.map(([, value]) => value), 0);
    const slot = (width - room.left - room.right) / this.bars.length;
    const parts = [draw("line", { class: "axis", x1: room.left, x2: width - room.right, y1: room.top + height, y2: room.top + height })];
    this.bars.forEach(([label, value], index) => {
      const x = room.left + slot * index;
      const tall = most ? (value / most) * height : 0;
      if (value) {
        parts.push(draw("rect", { class: "f-one", x: round(x + slot * 0.14), width: round(slot * 0.72), y: round(room.top + height - Math.max(1.5, tall)), height: round(Math.max(1.5, tall)), rx: 2 }));
        parts.push(draw("text", { class: "bar-value", x: round(x + slot / 2), y: round(room.top + height - tall - 4) }, this.spec.write(value)));
      }
      parts.push(draw("text", { class: "tick", x: round(x + slot / 2), y: HEIGHT - 4, "text-anchor": "middle" }, label));
    });
    if (!most) parts.push(draw("text", { class: "none", x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "nothing yet"));
    set(this.svg, "viewBox", `0 0 ${width} ${HEIGHT}`);
    morph(this.svg, parts);
    const told = this.bars.filter(([, value]) => value).map(([label, value]) => `${label}: ${this.spec.write(value)}`);
    set(this.plot, "aria-label", `${this.spec.title}, ${this.spec.unit}. ${told.join(", ") || "Nothing yet"}.`);
  }
}

/** A round top of the axis, and the step of its lines: two to four of them. */
function scale(most, least) {
  const wanted = Math.max(most * 1.05, least);
  const raw = wanted / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((part) => part * power).find((step) => step >= raw) ?? raw;
  return [step * Math.ceil(wanted / step), step];
}

/** Half a minute more or less is told as such. */
function ago(span) {
  const minutes = span / 60_000;
  return minutes < 1 ? `−${Math.round(span / 1000)}\u202fs` : `−${Math.floor(minutes)}${minutes % 1 ? "½" : ""}\u202fmin`;
}

function round(value) {
  return Math.round(value * 10) / 10;
}

