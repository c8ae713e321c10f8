/* filters.js - what is beside the results: attributes of the catalogue with their counts, and what of a
 * query counts. A group's own choice does not narrow its own counts, so that one can see what else there
 * would be. */
import { get } from "./api.js";
import { $, make, refill } from "./dom.js";
import { filterOf, go, here, KINDS } from "./query.js";

const GROUPS = 6, FEW = 6;
const NAMES = { text: "Words", image: "Pictures", audio: "Sounds", item: "Things" };
const expanded = new Set();
const counted = new Map(); // the query -> a promise of its attributes; until the page is loaded anew
let asked = 0;

function countsOf(filter) {
  const path = "/v1/attributes" + (filter ? "?filter=" + encodeURIComponent(JSON.stringify(filter)) : "");
  if (!counted.has(path)) counted.set(path, get(path));
  return counted.get(path).then(({ attributes }) => attributes, (error) => {
    counted.delete(path);
    throw error;
  });
}

/* An attribute is worth showing where its commonest values tell things apart: a category, not a title. */
function worth({ values, items }) {
  const covered = Math.min(1, values.slice(0, 12).reduce((sum, { count }) => sum + count, 0) / items);
  if (values.length < 2 || values[0].count < 2 || covered < 0.25) return 0;
  const spread = Math.log2(Math.min(values.length, 20));
  return covered * spread * (values.some(({ value }) => typeof value === "number") ? 0.3 : 1);
}

const named = (value) => value === true ? "yes" : value === false ? "no" : String(value).replaceAll("_", " ");

function toggle(key, value, on) {
  const { filters } = here();
  const others = (filters[key] ?? []).filter((v) => v !== value);
  go({ filters: { ...filters, [key]: on ? [...others, value] : others } });
}

function group({ key, values }, chosen, index) {
  const listed = [...values.filter(({ value }, i) => i < FEW || expanded.has(key) || chosen.includes(value))];
  for (const value of chosen) if (!listed.some((one) => one.value === value)) listed.push({ value, count: 0 });
  const hidden = values.length - listed.length;
  return make("fieldset", {}, make("legend", {}, key.replaceAll("_", " ")),
    ...listed.map(({ value, count }) => make("label.check", {},
      make("input", { type: "checkbox", checked: chosen.includes(value), "data-key": `${key} ${value}`,
        onchange: (event) => toggle(key, value, event.target.checked) }),
      make("span.value", {}, named(value)), make("span.count", {}, count.toLocaleString("en")))),
    hidden > 0 ? make("button.plain", { type: "button", "data-key": `more ${index}`,
      onclick: () => (expanded.add(key), showFilters(here())) }, `${hidden} more`) : null);
}

function showBalance({ parts, weights, mine }) {
  const present = new Set(parts.map(({ kind }) => kind));
  const sliders = present.size < 2 ? [] : KINDS.filter((kind) => kind !== "item" || present.has(kind)).map((kind) => {
    const value = weights[kind] ?? 1;
    const output = make("output", {}, `× ${value}`);
    return make("label.slide", {}, make("span", {}, NAMES[kind]),
      make("input", { type: "range", min: 0.1, max: 2, step: 0.1, value, disabled: !present.has(kind),
        "data-key": "weight " + kind, oninput: (event) => (output.textContent = `× ${event.target.value}`),
        onchange: (event) => go({ weights: { ...here().weights, [kind]: +event.target.value } }, true) }), output);
  });
  $("#balance").hidden = !parts.length;
  refill($("#balance"), [make("legend", {}, "What counts"), ...sliders,
    present.size < 2 ? make("p.hint", {}, "Mix words with a picture or a sound, and weigh them here.") : null,
    make("label.check", {}, make("input", { type: "checkbox", checked: mine, "data-key": "mine",
      onchange: (event) => go({ mine: event.target.checked }) }), make("span.value", {}, "Lean to what I like"))]
    .filter(Boolean));
}

export async function showFilters(state) {
  const mine = ++asked, { filters } = state;
  showBalance(state);
  const chosen = Object.keys(filters).filter((key) => filters[key].length);
  try {
    const [base, all, ...own] = await Promise.all([countsOf(), countsOf(filterOf(filters)),
      ...chosen.map((key) => countsOf(filterOf(filters, key)))]);
    if (mine !== asked) return;
    const best = base.filter((one) => worth(one) > 0).sort((a, b) => worth(b) - worth(a)).slice(0, GROUPS);
    const keys = [...new Set([...best.map(({ key }) => key), ...chosen])]; // in one order whatever is chosen
    const counts = (key) => (own[chosen.indexOf(key)] ?? all).find((one) => one.key === key) ?? { key, values: [] };
    refill($("#filters"), keys.map((key, i) => group(counts(key), filters[key] ?? [], i)), $("#find-heading"));
  } catch (error) {
    if (mine === asked) refill($("#filters"), error.status === 404 ? [] : [make("p.problem", {}, error.message)]);
  }
}
