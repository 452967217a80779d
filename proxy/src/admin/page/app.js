// The dashboard: asks once a second, and shows what there is.

import { hasToken, keepToken, look, Refused } from "./api.js";
import { prepare } from "./ask.js";
import { Bars, Chart } from "./chart.js";
import { by, make, morph, set, write } from "./dom.js";
import { count, long, millis, NOTHING, share, whole } from "./format.js";
import { History } from "./history.js";
import * as tables from "./tables.js";

const EVERY = 1000;
/** Past so many unanswered questions the proxy counts as away. */
const MISSED = 3;
/** Seconds over which the rates in the tiles are told. */
const RECENT = 10;
const STYLES = ["one", "two", "three"];
const STROKES = ["", "dash", "thin"];

const history = new History();
let shown = 300;
let paused = false;
let missed = 0;
let latest = null;
let failures = { total: -1, list: [] };
let timer = null;

// === charts ===

const announce = (text) => write(by("readout"), text);
const rate = (value) => count(value);

const CHARTS = [
  { id: "traffic", title: "Requests", unit: "a second", write: rate, series: [
    { name: "requests", label: "all", style: "one", area: true },
    { name: "refused", label: "refused", style: "warn", stroke: "dash" },
    { name: "failed", label: "failed", style: "bad", stroke: "dots" }] },
  { id: "tokens", title: "Tokens", unit: "a second", write: rate, nothing: "no request told its tokens", series: [
    { name: "tokens-out", label: "generated", style: "one", area: true },
    { name: "tokens-in", label: "read", style: "two", stroke: "dash" }] },
  { id: "latency", title: "Whole request", unit: "time", write: millis, series: percentiles("took") },
  { id: "first", title: "First byte", unit: "time", write: millis, series: percentiles("first-byte") },
  { id: "queue", title: "Queue", unit: "requests", write: rate, least: 3, series: [
    { name: "queued", label: "wait", style: "warn", area: false },
    { name: "running", label: "run", style: "one", stroke: "dash" }] },
  { id: "waited", title: "Wait in the queue", unit: "time", write: millis, series: percentiles("waited") },
  { id: "guests", title: "Time in plugins", unit: "a second", write: millis, nothing: "no plugin was called", series: guests },
].map((spec) => new Chart(spec, announce));

const batches = new Bars({ id: "batches", title: "Batch sizes", unit: "requests, last ten minutes", of: "requests in the batch", what: "requests", write: count });

function percentiles(of) {
  return [["p50", "p50", "one", ""], ["p90", "p90", "two", "dash"], ["p99", "p99", "three", "thin"]]
    .map(([name, label, style, stroke]) => ({ name: `${of}.${name}`, label, style, stroke }));
}

/** The three that take most. */
function guests(from) {
  const names = from.names("guests.").map((name) => [name, from.sum(`guests.${name}`, from.room)]);
  names.sort((a, b) => b[1] - a[1]);
  return names.slice(0, 3).map(([name], at) => ({ name: `guests.${name}`, label: name.replace("scheduler:", ""), style: STYLES[at], stroke: STROKES[at] }));
}

// === what is shown ===

function tile(id, name, value, unit, under, is) {
  return make("div", { class: "tile", "data-tile": id, "data-is": is || null },
    make("dt", {}, name),
    make("dd", {}, value, unit ? make("small", {}, unit) : null),
    make("dd", { class: "under" }, under));
}

function tiles() {
  const last = latest["last-minute"];
  const over = Math.max(1, Math.min(RECENT, history.at.length));
  const perSecond = (name) => history.sum(name, over) / over;
  const bad = last.failed + last.refused;
  const failing = last.requests ? last.failed / last.requests : 0;
  const queued = history.last("queued");
  // A moment of waiting is how a queue works; ten seconds of it is a lack of workers.
  const recent = history.column("queued").slice(-RECENT);
  const stuck = recent.length === RECENT && recent.every((value) => value > 0);
  return [
    tile("requests", "Requests", count(perSecond("requests")), "/s", `${whole(history.last("running"))} run now`),
    tile("tokens", "Tokens generated", count(perSecond("tokens-out")), "/s", `${count(perSecond("tokens-in"))} read a second`),
    tile("errors", "Errors, last minute", last.requests ? share(bad / last.requests) : NOTHING, "", `${whole(last.failed)} failed, ${whole(last.refused)} refused`, failing >= 0.05 ? "bad" : failing >= 0.01 ? "warn" : ""),
    tile("latency", "Whole request, median", millis(last.took.p50), "", `p99 ${millis(last.took.p99)}`),
    tile("first", "First byte, median", millis(last["first-byte"].p50), "", `p99 ${millis(last["first-byte"].p99)}`),
    tile("queue", "Waiting", whole(queued), "", last.waited.p99 === null ? "nobody waited" : `p99 ${millis(last.waited.p99)}`, stuck ? "warn" : ""),
  ];
}

function render() {
  const { time: now, plugins, schedulers, workers, routes } = latest;
  const changes = latest.changes.map((change) => ({ ...change, words: tables.words(change) })).reverse();
  morph(by("tiles"), tiles());
  for (const chart of CHARTS) chart.show(history, shown, changes);
  const sizes = latest["batch-sizes"].map((it) => [it.size, it.requests]);
  const merged = sizes.slice(1).reduce((sum, [, value]) => sum + value, 0);
  const all = merged + (sizes[0]?.[1] ?? 0);
  batches.show(sizes, all ? `${share(merged / all)} went in company` : "");

  tables.workers(by("workers"), workers);
  const accepting = workers.filter((worker) => worker.accepting).length;
  write(by("workers-sum"), workers.length ? `${accepting} of ${workers.length} accept work` : "");
  const both = [...plugins.map((it) => ({ ...it, kind: "plugins" })), ...schedulers.map((it) => ({ ...it, kind: "schedulers" }))];
  const over = Math.max(1, Math.min(RECENT, history.at.length));
  tables.plugins(by("plugins"), both, (it) => history.sum(`guests.${it.kind === "schedulers" ? "scheduler:" : ""}${it.name}`, over) / over);
  const problems = both.filter((it) => it.problem || it.quarantined).length;
  write(by("plugins-sum"), problems ? `${problems} with a problem` : "");
  tables.failures(by("failures"), failures.list);
  write(by("failures-sum"), failures.total > 0 ? `${whole(failures.total)} since ${long(now - latest.started)} ago` : "");
  tables.changes(by("changes"), changes, now);
  tables.routes(by("routes"), routes);
  const waiting = routes.reduce((sum, route) => sum + route.queued, 0);
  write(by("routes-sum"), waiting ? `${whole(waiting)} wait` : "nobody waits");
  write(by("facts"), `version ${latest.version} · up ${long(now - latest.started)}`);
  document.title = `${count(history.sum("requests", over) / over)}/s · Tollgate`;
}

function state(is, text) {
  set(by("state"), "data-is", is);
  write(by("state-text"), text);
}

// === asking ===

async function turn() {
  try {
    latest = await look(`/overview?since=${history.next}`, AbortSignal.timeout(10_000));
    history.take(latest.history);
    if (latest.failures.total !== failures.total) failures = await look("/errors?last=30", AbortSignal.timeout(10_000));
    missed = 0;
    by("door").hidden = true;
    if (latest.draining) state("warn", "Draining");
    else if (latest.ready) state("good", "Ready");
    else state("warn", "Not ready");
    render();
  } catch (error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) {
      shut(error);
      return;
    }
    missed += 1;
    if (missed >= MISSED) state("bad", latest ? "Does not answer: what is shown is old" : "Does not answer");
  }
  again();
}

function again() {
  clearTimeout(timer);
  if (!paused && !document.hidden) timer = setTimeout(turn, EVERY);
}

/** A token is wanted, or another one. */
function shut(error) {
  state("warn", error.status === 401 ? "A token is wanted" : "Refused");
  write(by("door-text"), `${error.message}${error.what ? ` — ${error.what}` : ""}`);
  by("door").hidden = false;
  if (error.status === 401 && hasToken()) keepToken(null);
  by("token").focus();
}

// === what is set ===

const THEMES = ["system", "light", "dark"];

function theme(wanted) {
  set(document.documentElement, "data-theme", wanted === "system" ? null : wanted);
  write(by("theme"), `Theme: ${wanted}`);
}

function begin() {
  by("charts").append(...CHARTS.map((chart) => chart.element), batches.element);
  prepare(() => {
    clearTimeout(timer);
    turn();
  });
  let wanted = localStorage.getItem("tollgate-theme");
  if (!THEMES.includes(wanted)) wanted = "system";
  theme(wanted);
  by("theme").addEventListener("click", () => {
    wanted = THEMES[(THEMES.indexOf(wanted) + 1) % THEMES.length];
    localStorage.setItem("tollgate-theme", wanted);
    theme(wanted);
  });
  by("pause").addEventListener("click", () => {
    paused = !paused;
    set(by("pause"), "aria-pressed", paused);
    write(by("pause"), paused ? "Go on" : "Pause");
    if (paused) state("warn", "Paused");
    again();
  });
  by("window").addEventListener("change", (event) => {
    shown = Number(event.target.value);
    if (latest) render();
  });
  by("door").addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(by("token").value.trim());
    by("token").value = "";
    turn();
  });
  document.addEventListener("visibilitychange", again);
  turn();
}

begin();
