/* find.js - the first view: the search box and its parts, what is found, and a handful of things before. */
import { get, send } from "./api.js";
import { card, itemOf, namesOf, pictureOf, titleOf } from "./cards.js";
import { $, complain, icon, make, refill, say } from "./dom.js";
import { showFilters } from "./filters.js";
import { mediaOf, record } from "./media.js";
import { me } from "./people.js";
import { filterOf, go, here, keep, keptMedia, lessLike, moreLike, partsOf, requestOf } from "./query.js";

const PAGE = 24;
const box = $("#words"), bird = $("#bird"), problem = $("#ask-problem");
let running = new AbortController(); // the search that is under way, which the next one ends
let current = null, scale = 1; // the state that is shown; the score that fills a bar
let dimension = null; // of the fused space's vectors

/* ---- the parts */

const inBox = (parts) => parts.findIndex(({ kind, wanted }) => kind === "text" && wanted);
const NOUNS = { text: "words", image: "picture", audio: "sound", item: "thing" };

const wordsOf = ({ kind, value }) => (kind === "text" ? `“${value}”` : `a ${NOUNS[kind]}`);

function face(part) {
  const media = keptMedia(part.value);
  if (part.kind === "image" && media) return make("img", { src: media.data, alt: "" });
  const words = make("span.words", {}, media?.name ?? wordsOf(part));
  const whole = make("span.face", {}, part.kind === "audio" ? icon("sound") : null, words);
  if (part.kind === "item") itemOf(part.value).then((item) => {
    words.textContent = namesOf(item).title;
    if (item.image) whole.prepend(pictureOf(item));
  });
  return whole;
}

function chip(part, index, parts, wrong) {
  const name = `${NOUNS[part.kind]} ${wordsOf(part)}`;
  const change = (next) => go({ parts: parts.flatMap((other, i) => (i === index ? next : other)) });
  return make(`li.chip${part.wanted ? "" : ".unwanted"}${wrong ? ".wrong" : ""}`, {},
    make("button.flip", { type: "button", "aria-pressed": !part.wanted, "aria-label": `Not like: ${name}`,
      title: part.wanted ? "Turn into: not like this" : "Turn into: like this", "data-key": `flip ${index}`,
      onclick: () => change({ ...part, wanted: !part.wanted }) }, part.wanted ? "like" : "not like"),
    face(part),
    make("button.drop", { type: "button", "aria-label": `Remove ${name}`, "data-key": `drop ${index}`,
      onclick: () => change([]) }, icon("close")));
}

function showParts({ parts, filters }, wrong = -1) {
  const only = Object.entries(filters).flatMap(([key, values]) => values.map((value) =>
    make("li.chip.only", {}, make("span.flip", {}, key.replaceAll("_", " ")), make("span.words", {}, String(value)),
      make("button.drop", { type: "button", "aria-label": `Remove the filter ${key}: ${value}`, "data-key": "only",
        onclick: () => go({ filters: { ...filters, [key]: values.filter((v) => v !== value) } }) }, icon("close")))));
  const all = [...parts.map((part, i) => chip(part, i, parts, i === wrong)), ...only];
  if (all.length) all.push(make("li", {}, make("button.plain", { type: "button", "data-key": "over",
    onclick: () => (go({ parts: [], filters: {}, weights: {} }), box.focus()) }, "Start over")));
  refill($("#chips"), all, box);
}

/* Whatever is typed stands for the words that were in the box before; the other parts stay. */
function submit(event) {
  event.preventDefault();
  const { parts } = here(), old = inBox(parts);
  go({ view: "find", parts: [...partsOf(box.value), ...parts.filter((_, i) => i !== old)] });
}

const addMedia = (media) =>
  go({ view: "find", parts: [...here().parts, { kind: media.kind, value: keep(media), wanted: true }] });

export async function add(files) {
  for (const file of files) {
    try {
      addMedia(await mediaOf(file));
    } catch (error) {
      complain(problem, error);
    }
  }
}

let recording = null;
async function toggleRecording() {
  const button = $("#record");
  if (recording) return recording.stop();
  try {
    complain(problem, "");
    recording = await record((seconds) => (button.dataset.seconds = seconds));
    button.setAttribute("aria-pressed", "true");
    button.dataset.seconds = 0;
    say("Recording. Press again to end it.");
    addMedia(await recording.sound);
  } catch (error) {
    complain(problem, error);
  }
  recording = null;
  button.setAttribute("aria-pressed", "false");
}

/* ---- what is found */

/* What is wanted, then what is not. */
async function describe(parts) {
  const ordered = [...parts].sort((a, b) => b.wanted - a.wanted);
  const names = await Promise.all(ordered.map((part) =>
    (part.kind === "item" ? titleOf(part.value) : wordsOf(part))));
  const before = (wanted, i) => (wanted ? (i ? " and " : "") : i ? ", not " : "anything but ");
  return ordered.map(({ wanted }, i) => before(wanted, i) + names[i]).join("");
}

/* A store of pictures or sounds alone has no one space, in which alone a score can be explained. */
async function ask(state, offset) {
  const request = { ...requestOf(state), k: PAGE, offset, ...(state.mine && { user: me() }) };
  try {
    return await send("/v1/search", { ...request, explain: true }, running.signal);
  } catch (error) {
    if (error.field !== "space") throw error;
    return send("/v1/search", request, running.signal);
  }
}

async function search(state) {
  const { hits, took_ms } = await ask(state, 0);
  const like = `like ${await describe(state.parts)}`;
  return { hits, heading: hits.length ? `Things ${like}` : `Nothing here is ${like}`, more: hits.length === PAGE,
    said: `${hits.length} things ${like}, in ${Math.round(took_ms)} milliseconds.` +
      (hits.length ? ` The first is ${namesOf(hits[0]).title}.` : "") };
}

/* Things by chance: what lies nearest to a direction that nobody chose. */
async function handful({ filters }) {
  dimension ??= (await get("/v1/stats", running.signal)).spaces.fused?.dimension;
  const vector = Array.from({ length: dimension ?? 0 }, () => Math.random() * 2 - 1);
  const request = { query: { vector }, k: PAGE, filter: filterOf(filters) };
  const hits = dimension ? (await send("/v1/search", request, running.signal)).hits : [];
  const heading = hits.length ? "A handful of things" : "Nothing is here yet";
  return { hits, heading, said: heading, again: hits.length > 0 };
}

const cardsOf = (hits, asked) => hits.map((hit) =>
  card(hit, { more: moreLike, less: asked ? lessLike : null, scale: asked ? scale : 0 }));

function show({ hits, heading, said, more, again }, asked) {
  scale = Math.max(hits[0]?.score ?? 1, 0.05);
  $("#find-heading").textContent = heading;
  $("#legend").hidden = !hits[0]?.explain;
  $("#hits").replaceChildren(...cardsOf(hits, asked));
  $("#more").hidden = !more;
  $("#again").hidden = !again;
  say(said);
}

async function showMore() {
  const { signal } = running, first = $("#hits").children.length;
  try {
    const { hits } = await ask(current, first);
    $("#hits").append(...cardsOf(hits, true));
    $("#hits").children[first]?.querySelector("button").focus();
    $("#more").hidden = hits.length < PAGE;
    say(hits.length ? `${hits.length} more things.` : "That is all.");
  } catch (error) {
    if (!signal.aborted) complain(problem, error);
  }
}

/* A picture or sound that another tab has is left out, and said to be. */
export async function showFind(state) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const isHere = ({ kind, value }) => (kind !== "image" && kind !== "audio") || keptMedia(value);
  const lost = !state.parts.every(isHere), parts = state.parts.filter(isHere), asked = parts.length > 0;
  current = { ...state, parts };
  $("#view-find").classList.toggle("asked", asked);
  box.value = parts[inBox(parts)]?.value ?? "";
  showParts(current);
  showFilters(current);
  complain(problem, lost && "The picture or sound of this search was only in the tab that made it.");
  $("#hits").setAttribute("aria-busy", "true");
  bird.classList.add("busy");
  try {
    const found = await (asked ? search(current) : handful(current));
    if (signal.aborted) return;
    show(found, asked);
    bird.classList.add("hop");
  } catch (error) {
    if (signal.aborted) return;
    const [, index] = error.field?.match(/^query\[(\d+)\]/) ?? [];
    if (index) showParts(current, +index);
    show({ hits: [], heading: asked ? "Nothing was looked for" : "Things", said: "" }, asked);
    complain(problem, error);
  }
  $("#hits").setAttribute("aria-busy", "false");
  bird.classList.remove("busy");
}

export function start() {
  $("#ask").addEventListener("submit", submit);
  $("#file").addEventListener("change", (event) => (add([...event.target.files]), (event.target.value = "")));
  $("#record").addEventListener("click", toggleRecording);
  $("#more").addEventListener("click", showMore);
  $("#again").addEventListener("click", () => go({}, true));
  bird.addEventListener("animationend", () => bird.classList.remove("hop"));
}
