/* status.js - how the service is: its counters, read every two seconds while the view is open. Rates and
 * latencies are of the last minute, by the difference of two readings: what it does now, not since it was
 * started. */
import { get, getText } from "./api.js";
import { $, complain, make } from "./dom.js";

const EVERY = 2000; // ms
const MINUTE = 30; // readings
let timer = 0;
let readings = []; // {at, stats, metrics}, the latest last
const curves = new Map(); // tile -> its last values

/* Prometheus's text as [{name, labels, value}]. */
function parse(text) {
  return [...text.matchAll(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)/gm)].map(([, name, labels = "", value]) => ({
    name, value: Number(value),
    labels: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, of]) => [key, of])),
  }));
}

const lookups = ({ metrics }, outcome) => metrics.reduce((sum, { name, labels, value }) =>
  name === "magpie_cache_lookups_total" && labels.outcome === outcome ? sum + value : sum, 0);

/* {what: [[upper bound in seconds, count up to it], ...]} of every histogram of that name */
function histograms(metrics, name) {
  const found = new Map();
  for (const { labels: { le, ...rest }, value } of metrics.filter((m) => m.name === name + "_bucket")) {
    const what = Object.values(rest).join(" ");
    found.set(what, [...(found.get(what) ?? []), [le === "+Inf" ? Infinity : Number(le), value]]);
  }
  return found;
}

/* Of what was counted, by linear interpolation in its bucket, in ms. */
function quantile(counted, q) {
  const wanted = q * counted.at(-1)[1];
  const at = counted.findIndex(([, n]) => n >= wanted);
  const [low, below] = at ? counted[at - 1] : [0, 0], [high, upTo] = counted[at];
  const x = 1000 * (high === Infinity ? low : low + ((high - low) * (wanted - below)) / Math.max(1, upTo - below));
  return x < 10 ? x.toFixed(2) : number(Math.round(x));
}

const number = (n) => n.toLocaleString("en");
const MIB = 2 ** 20;
const bytes = (n) =>
  (n >= 1024 * MIB ? `${(n / 1024 / MIB).toFixed(2)} GiB` : `${(n / MIB).toFixed(n < 16 * MIB ? 1 : 0)} MiB`);

/* A figure with the course of it, from nothing at the lower edge. */
function tile(name, value, shown, note) {
  const values = [...(curves.get(name) ?? []), value].slice(-2 * MINUTE);
  curves.set(name, values);
  const canvas = make("canvas", { width: 480, height: 96, "aria-hidden": "true" });
  const pen = canvas.getContext("2d"), most = Math.max(...values, 1e-9);
  pen.strokeStyle = pen.fillStyle = getComputedStyle(document.body).getPropertyValue("--accent");
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  const x = (i) => 478 - (values.length - 1 - i) * (476 / (2 * MINUTE - 1)), y = (v) => 92 - (84 * v) / most;
  values.forEach((v, i) => pen.lineTo(x(i), y(v)));
  pen.stroke();
  pen.lineTo(478, 96), pen.lineTo(x(0), 96);
  pen.globalAlpha = 0.12;
  pen.fill();
  return make("div.tile", {}, make("h2", {}, name), make("p.figure", {}, shown), make("p.soft", {}, note), canvas);
}

function table(caption, head, rows) {
  return make("table", {}, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map(([first, ...cells]) => make("tr", {}, make("th", { scope: "row" }, first),
      ...cells.map((cell) => make("td", {}, cell))))));
}

/* Where nothing came in the last minute: since the start, in grey. */
function latencies(caption, name) {
  const then = histograms(readings[0].metrics, name);
  const rows = [...histograms(readings.at(-1).metrics, name)].map(([what, series]) => {
    const recent = series.map(([bound, n], i) => [bound, n - (then.get(what)?.[i][1] ?? 0)]);
    const idle = !(recent.at(-1)[1] > 0), counted = idle ? series : recent, n = counted.at(-1)[1];
    const cells = [number(n), ...[0.5, 0.95, 0.99].map((q) => (n > 0 ? quantile(counted, q) : "–"))];
    return [what, ...cells.map((cell) => (idle ? make("span.soft", {}, cell) : cell))];
  });
  return table(caption, ["", "count", "p50", "p95", "p99"], rows);
}

function show() {
  const then = readings[0], now = readings.at(-1), previous = readings.at(-2) ?? now, { stats } = now;
  const seconds = (now.at - previous.at) / 1000 || 1;
  const rate = (stats.requests - previous.stats.requests) / seconds;
  const [hits, misses] = ["hit", "miss"].map((outcome) => lookups(now, outcome) - lookups(then, outcome));
  const share = hits / Math.max(1, hits + misses);
  $("#tiles").replaceChildren(
    tile("Requests", rate, rate.toFixed(1), `a second; ${number(stats.requests)} in all`),
    tile("Memory", stats.resident_bytes, bytes(stats.resident_bytes), `resident; ${bytes(stats.file_bytes)} on disk`),
    tile("Things", stats.items, number(stats.items), `${number(stats.interactions)} interactions`),
    tile("Remembered", share, hits + misses ? `${Math.round(100 * share)}%` : "–",
      "of look-ups of vectors and answers"));
  $("#tables").replaceChildren(
    latencies("Stages in the last minute, ms (grey: since the start)", "magpie_stage_seconds"),
    table("Indexes", ["", "vectors", "size", "kind", "dead", "memory"], Object.entries(stats.spaces).map(
      ([name, { vectors, dimension, index }]) => [name, number(vectors), String(dimension), index?.kind ?? "–",
        String(index?.dead ?? "–"), index ? bytes(index.bytes) : "–"])),
    latencies("Requests in the last minute, ms (grey: since the start)", "magpie_request_seconds"));
}

async function poll() {
  try {
    const [stats, text] = await Promise.all([get("/v1/stats"), getText("/metrics")]);
    readings = [...readings, { at: performance.now(), stats, metrics: parse(text) }].slice(-MINUTE - 1);
    show();
    complain($("#status-problem"), "");
    $("#status-when").textContent = `as of ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    complain($("#status-problem"), error);
  }
  if (timer) timer = setTimeout(poll, EVERY);
}

export function showStatus() {
  if (!timer) timer = setTimeout(poll, 0);
}

export function leaveStatus() {
  clearTimeout(timer);
  timer = 0;
  readings = []; // what happens until the view is open again is nobody's last minute
}
