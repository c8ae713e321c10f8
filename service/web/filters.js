/* filters.js - what is beside the results: attributes of the catalogue with their counts, and what of a query counts. A
 * group's own choice does not narrow its own counts, so that one can see what else there would be. */
import { get } from "./api.js";
import { $, make, refill } from "./dom.js";
import { filterOf, go, here, KINDS } from "./query.js";

const GROUPS = 6, FEW = 6;
const NAMES = { text: "Words", image: "Pictures", audio: "Sounds", item: "Things" };
const expanded = new Set();
let asked = 0;

/* An attribute is worth showing where its commonest values tell things apart: a category does, a title does not. */
function worth({ values, items }) {
  const covered = Math.min(1, values.slice(0, 12).reduce((sum, { count }) => sum + count, 0) / items);
  const spread = values.length > 1 && values[0].count > 1 && covered >= 0.25 ? Math.log2(Math.min(values.length, 20)) : 0;
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
  const fetchCounts = async (without) => {
    const filter = filterOf(filters, without);
    return (await get("/v1/attributes" + (filter ? "?filter=" + encodeURIComponent(JSON.stringify(filter)) : ""))).attributes;
  };
  try {
    const [counted, ...own] = await Promise.all([fetchCounts(), ...chosen.map(fetchCounts)]);
    if (mine !== asked) return;
    const others = counted.filter(({ key }) => !chosen.includes(key) && counted.length);
    const kept = chosen.map((key, i) => own[i].find((one) => one.key === key) ?? { key, values: [] });
    const best = others.map((one) => [worth(one), one]).filter(([x]) => x > 0).sort((a, b) => b[0] - a[0]).map(([, one]) => one);
    refill($("#filters"), [...kept, ...best].slice(0, Math.max(GROUPS, kept.length))
      .map((one, i) => group(one, filters[one.key] ?? [], i)), $("#find-heading"));
  } catch (error) {
    if (mine === asked) refill($("#filters"), error.status === 404 ? [] : [make("p.problem", {}, error.message)]);
  }
}
