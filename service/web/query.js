/* query.js - what is asked for, as the page's address says it: so the back button works, and a search can be
 * shared.
 *
 *     #find?like=text:rain+hat&not=item:hats/7&weights=1,0.5,1,1&f.category="hats"&f.category="coats"
 *
 * A picture or a sound is too long for an address. It is kept here under a short name, for this tab; somebody
 * to whom the address is sent finds the rest of the search, and is told what is missing. */
export const KINDS = ["text", "image", "audio", "item"];
export const VIEWS = ["find", "foryou", "map", "status"];

export function parse(hash) {
  const [view, rest = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const state = { view: VIEWS.includes(view) ? view : "find", parts: [], weights: {}, filters: {}, mine: false };
  for (const [name, value] of new URLSearchParams(rest)) {
    const [, kind, of] = value.match(/^(text|image|audio|item):(.+)$/s) ?? [];
    if ((name === "like" || name === "not") && kind) state.parts.push({ kind, value: of, wanted: name === "like" });
    if (name === "weights") value.split(",").forEach((x, i) => x >= 0 && x <= 2 && (state.weights[KINDS[i]] = +x));
    if (name === "mine") state.mine = value === "yes";
    if (name.startsWith("f.")) {
      try {
        (state.filters[name.slice(2)] ??= []).push(JSON.parse(value));
      } catch { /* an address that somebody typed: the rest of it still counts */ }
    }
  }
  return state;
}

export function format({ view, parts, weights, filters, mine }) {
  const query = new URLSearchParams();
  for (const part of parts) query.append(part.wanted ? "like" : "not", `${part.kind}:${part.value}`);
  if (KINDS.some((kind) => (weights[kind] ?? 1) !== 1)) query.set("weights", KINDS.map((kind) => weights[kind] ?? 1));
  if (mine) query.set("mine", "yes");
  for (const [key, values] of Object.entries(filters))
    for (const value of values) query.append("f." + key, JSON.stringify(value));
  const text = query.toString();
  return "#" + view + (text && "?" + text);
}

export const here = () => parse(location.hash);

/* `replacing`: for what nobody wants to go back through, as a slider's places. */
export function go(change, replacing = false) {
  const hash = format({ ...here(), ...change });
  if (!replacing && hash !== location.hash) return void (location.hash = hash);
  history.replaceState(null, "", hash);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/* The address of "more like this"; filters stay. */
export const moreLike = (id) =>
  format({ ...here(), view: "find", parts: [{ kind: "item", value: id, wanted: true }] });

export function lessLike(id) {
  const parts = here().parts.filter(({ kind, value }) => kind !== "item" || value !== id);
  go({ view: "find", parts: [...parts, { kind: "item", value: id, wanted: false }] });
}

/* Any of the values of one attribute, and all of the attributes. undefined: no filter. */
export function filterOf(filters, without) {
  const must = Object.entries(filters).filter(([key, values]) => values.length && key !== without)
    .map(([key, values]) => ({ key, match: { any: values } }));
  return must.length ? { must } : undefined;
}

/* What is unwanted counts half: pushed away with full weight, what is wanted would go with it. */
export function requestOf({ parts, weights, filters }) {
  const query = parts.map(({ kind, value, wanted }) => ({
    [kind]: kind === "image" || kind === "audio" ? kept.get(value).data : value, ...(!wanted && { weight: -0.5 }),
  }));
  return { query, weights, filter: filterOf(filters) };
}

/* "musical instrument -guitar -"snare drum"" as parts. */
export function partsOf(words) {
  const unwanted = [];
  const rest = words.replace(/(^|\s)-(?:"([^"]+)"|([^\s"-]\S*))/g, (_, space, quoted, word) => {
    unwanted.push({ kind: "text", value: quoted ?? word, wanted: false });
    return space;
  }).replace(/\s+/g, " ").trim();
  return [...(rest ? [{ kind: "text", value: rest, wanted: true }] : []), ...unwanted];
}

/* ---- pictures and sounds of this tab: name -> {kind, data: a data: URL, name} */

const kept = new Map(JSON.parse(sessionStorage.getItem("magpie-kept") ?? "[]"));
export const keptMedia = (name) => kept.get(name);

export function keep(media) {
  let hash = 0;
  for (let i = 0; i < media.data.length; i++) hash = (Math.imul(hash, 31) + media.data.charCodeAt(i)) | 0;
  const name = (hash >>> 0).toString(36);
  kept.set(name, media);
  while (kept.size > 12) kept.delete(kept.keys().next().value);
  try {
    sessionStorage.setItem("magpie-kept", JSON.stringify([...kept]));
  } catch { /* full: they live until the page is loaded anew */ }
  return name;
}
