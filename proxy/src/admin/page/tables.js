// The tables: workers, plugins and schedulers, errors, changes, routes.

import { draw, make, morph } from "./dom.js";
import { bytes, count, long, millis, NOTHING, share, time, whole } from "./format.js";

/**
 * A table with a caption for those who hear it. A column is `{ head, number, cell, wide }`; on a narrow
 * screen a row is a block, so that the roles are said in so many words.
 */
function table(place, caption, columns, rows, nothing) {
  if (rows.length === 0) {
    morph(place, [make("p", { class: "empty" }, nothing)]);
    return;
  }
  const heads = columns.map(({ head, number, kind }) =>
    make("th", { scope: "col", role: "columnheader", class: [number ? "n" : "", kind === "wide" ? kind : ""].join(" ").trim() || null }, head || make("span", { class: "hidden" }, "Actions")));
  const body = rows.map((row) => make("tr", { role: "row", "data-key": row.key ?? null },
    ...columns.map(({ head, number, kind, cell }) =>
      make("td", { role: "cell", class: [number ? "n" : "", kind ?? ""].join(" ").trim() || null, "data-label": kind === "name" || kind === "acts" ? null : head }, ...[cell(row)].flat()))));
  morph(place, [make("div", { class: "stack" },
    make("table", { role: "table" },
      make("caption", { class: "hidden" }, caption),
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
      make("tbody", { role: "rowgroup" }, ...body)))]);
}

function badge(is, text) {
  return make("span", { class: "badge", "data-is": is }, text);
}

function sub(text) {
  return make("span", { class: "sub" }, text);
}

function problem(text) {
  return make("span", { class: "problem" }, text);
}

function act(label, name, verb, data) {
  return make("button", { type: "button", class: "small", "data-act": verb, ...data }, label, make("span", { class: "hidden" }, ` ${name}`));
}

// === workers ===

function health(worker) {
  if (worker.draining) return badge("warn", worker.busy ? "draining" : "drained");
  if (worker.ejected) return badge("bad", "kept out");
  if (!worker.accepting) return badge("bad", "not ready");
  if (worker["ejected-models"]) return badge("warn", "accepting in part");
  return badge("good", "accepting");
}

function spoken({ protocol, dialect }) {
  if (!dialect) return "in this process";
  return dialect === protocol ? protocol : `${protocol}, ${dialect}`;
}

function load(worker) {
  const part = worker.slots ? Math.min(1, worker.busy / worker.slots) : 0;
  const bar = draw("svg", { class: "load", viewBox: "0 0 92 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { width: 92, height: 6 }), draw("rect", { class: "f-one", width: Math.round(part * 92), height: 6 }));
  return [`${whole(worker.busy)} of ${whole(worker.slots)}`, bar];
}

export function workers(place, list) {
  const rows = list.map((worker) => ({ ...worker, key: worker.name }));
  table(place, "Workers: their health, and how much they have to do", [
    { head: "Worker", kind: "name", cell: (it) => [it.name, sub(spoken(it))] },
    { head: "Health", cell: (it) => [health(it), it.reason && !it.accepting && !it.draining ? sub(it.reason) : null] },
    { head: "Slots in use", number: true, cell: load },
    { head: "Inside it", number: true, cell: (it) => it.running === null && it.queued === null ? NOTHING : [`${whole(it.running)} run`, sub(`${whole(it.queued)} wait`)] },
    { head: "KV cache", number: true, cell: (it) => it["kv-cache-use"] === null ? NOTHING : share(it["kv-cache-use"] / 1000) },
    { head: "Connections", number: true, cell: (it) => it.connections === null ? NOTHING : whole(it.connections) },
    { head: "Models", kind: "wide", cell: (it) => it.models.slice(0, 4).join(", ") + (it.models.length > 4 ? ` and ${it.models.length - 4} more` : "") || NOTHING },
    { head: "", kind: "acts", cell: (it) => it.draining
      ? act("Resume", it.name, "resume", { "data-kind": "workers", "data-name": it.name })
      : act("Drain", it.name, "drain", { "data-kind": "workers", "data-name": it.name }) },
  ], rows, "There are no workers: none are configured, or none have been found yet.");
}

// === plugins and schedulers ===

function standing(it) {
  if (it.generation === undefined) return badge("good", "built in");
  if (it.quarantined) return badge("bad", "in quarantine");
  if (it.fallback) return badge("bad", "replaced by the built-in rules");
  if (it.candidate) return badge("warn", `canary at ${it.candidate.percent}\u202f%`);
  if (it.probation) return badge("warn", "on probation");
  return badge("good", "in force");
}

function generation(it) {
  if (it.generation === undefined) return NOTHING;
  const more = [];
  if (it.candidate) more.push(sub(`canary: ${it.candidate.generation}`));
  if (it.leaving.length) more.push(sub(`leaving: ${it.leaving.map((one) => one.generation).join(", ")}`));
  return [make("span", { "data-generation": it.generation }, whole(it.generation)), sub(it.version), ...more];
}

export function plugins(place, list, cost) {
  const rows = list.map((it) => ({ ...it, key: `${it.kind} ${it.name}` }));
  table(place, "Plugins and schedulers: which generation serves, and what it costs", [
    { head: "Name", kind: "name", cell: (it) => [it.name ?? "built-in rules", sub(it.kind === "schedulers" ? "scheduler" : it.world)] },
    { head: "Standing", cell: (it) => [standing(it), it.problem ? problem(it.problem) : null] },
    { head: "Generation", number: true, cell: generation },
    { head: "Guest time", number: true, cell: (it) => it.generation === undefined ? NOTHING : [`${millis(cost(it))}/s`, sub(it.calls ? `${millis((it["call-seconds"] * 1000) / it.calls)} a call` : "no calls")] },
    { head: "Memory", number: true, cell: (it) => it.generation === undefined ? NOTHING : [bytes(it["memory-bytes"]), sub(`${whole(it.slots)} ${it.slots === 1 ? "instance" : "instances"}`)] },
    { head: "Served", number: true, cell: (it) => it.generation === undefined ? NOTHING : [count(it.served), it.failed ? sub(`${count(it.failed)} failed`) : null] },
    { head: "Traps", number: true, cell: (it) => it.generation === undefined ? NOTHING : whole(it.traps) },
    { head: "", kind: "acts", cell: acts },
  ], rows, "No plugins are configured.");
}

function acts(it) {
  if (it.generation === undefined) return [];
  const data = { "data-kind": it.kind, "data-name": it.name };
  const found = [act("Swap…", it.name, "swap", data)];
  if (it.candidate) found.push(act("Promote…", it.name, "promote", data));
  if (it.candidate || it.earlier.length) found.push(act("Roll back…", it.name, "rollback", data));
  return found;
}

// === errors ===

export function failures(place, list) {
  const rows = list.map((it) => ({ ...it, key: it.number }));
  table(place, "Recent errors, the latest first", [
    { head: "When", cell: (it) => [time(it.at), sub(`after ${millis(it["duration-ms"])}`)] },
    { head: "What", cell: (it) => [badge(it.kind === "failed" ? "bad" : it.kind === "refused" ? "warn" : "", it.outcome), sub([it.status, it["grpc-status"] !== null ? `gRPC ${it["grpc-status"]}` : null].filter((one) => one !== null).join(", "))] },
    { head: "Where", cell: (it) => [it.route, sub([it.plugin ? `plugin ${it.plugin}` : it.frontend, it.worker].filter(Boolean).join(" → "))] },
    { head: "Request", kind: "wide", cell: (it) => [it.model ?? it.task ?? NOTHING, make("span", { class: "sub" }, make("code", {}, it["request-id"]))] },
  ], rows, "None since the proxy began, as far as it remembers.");
}

// === changes ===

export function words(change) {
  const name = `${change.kind === "scheduler" ? "scheduler " : ""}${change.name}`;
  const from = change.from === null ? "" : ` from generation ${change.from}`;
  const to = change.to === null ? "" : ` to ${change.from === null ? "generation " : ""}${change.to}`;
  return `${name} ${change.what}${from}${to}${change.why ? ` (${change.why})` : ""}`;
}

export function changes(place, list, now) {
  const rows = list.map((it) => ({ ...it, key: `${it.at} ${it.name} ${it.what}` }));
  table(place, "Changes of plugins, schedulers and workers, the latest first", [
    { head: "When", cell: (it) => [time(it.at), sub(`${long(now - it.at)} ago`)] },
    { head: "What", cell: (it) => it.words },
  ], rows, "Nothing was swapped, drained or rolled back since the proxy began.");
}

// === routes ===

export function routes(place, list) {
  const rows = list.map((it) => ({ ...it, key: it.name }));
  table(place, "Routes: what runs and what waits", [
    { head: "Route", kind: "name", cell: (it) => it.name },
    { head: "Run or wait", number: true, cell: (it) => `${whole(it.running)} of ${whole(it.concurrency)}` },
    { head: "Wait", number: true, cell: (it) => `${whole(it.queued)} of ${whole(it["queue-requests"])}` },
    { head: "They hold", number: true, cell: (it) => bytes(it["queued-bytes"]) },
    { head: "Models", kind: "wide", cell: (it) => it.models.slice(0, 6).join(", ") + (it.models.length > 6 ? ` and ${it.models.length - 6} more` : "") || NOTHING },
  ], rows, "There are no routes.");
}
