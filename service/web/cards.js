/* cards.js - a thing that was found: its picture, its name, why it was found, what can be done. */
import { get, itemPath, load, thumbnail } from "./api.js";
import { $, complain, icon, make, say } from "./dom.js";
import { like, likes } from "./people.js";

/* Items by id, of what was seen: chips, likes and the map name things by them. */
const seen = new Map();

export async function itemOf(id) {
  if (!seen.has(id)) seen.set(id, await get(itemPath(id)).catch(() => ({ id })));
  return seen.get(id);
}

/* The title is an attribute where there is one, else the text's first sentence; `rest` is what it says more. */
export function namesOf({ id, text, attributes }) {
  const given = attributes?.title ?? attributes?.name;
  const words = (text ?? "").trim();
  const sentence = words.match(/^.{1,90}?(?=[.!?](\s|$)|$)|^.{90}/s)?.[0];
  const title = (typeof given === "string" && given) || sentence || id;
  const rest = words.startsWith(title) ? words.slice(title.length).replace(/^[\s.,:;!?-]+/, "") : words;
  return { title, rest };
}

export const titleOf = async (id) => namesOf(await itemOf(id)).title;

/* In place of a picture: the words themselves, large, on a tint of their own. */
function placard(hit) {
  const tint = [...hit.id].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 6, 0);
  const { title } = namesOf(hit);
  return make(`span.placard.tint-${tint}`, { "aria-hidden": "true" }, hit.audio ? icon("sound") : null, title);
}

export const pictureOf = (hit) => (hit.image ? thumbnail(hit.id, () => placard(hit)) : placard(hit));

/* ---- one sound at a time */

const player = new Audio();
let playing = null; // its button

function quiet() {
  player.pause();
  playing?.setAttribute("aria-pressed", "false");
  playing?.querySelector("use").setAttribute("href", "#i-play");
  playing = null;
}
player.addEventListener("ended", quiet);

async function play(button, id) {
  const again = playing === button;
  quiet();
  if (again) return;
  playing = button;
  button.setAttribute("aria-pressed", "true");
  button.querySelector("use").setAttribute("href", "#i-stop");
  try {
    await load(player, itemPath(id) + "/audio");
    await player.play();
  } catch (error) {
    if (error.name === "AbortError") return; // another one was begun
    quiet();
    button.disabled = true;
    button.title = "This sound cannot be played: " + error.message;
    say(button.title);
  }
}

function playButton(hit, title) {
  const button = make("button.play", { type: "button", "aria-pressed": "false", "data-key": "play " + hit.id,
    "aria-label": `Play the sound of ${title}`, onclick: () => play(button, hit.id) }, icon("play"));
  return button;
}

function heartButton(hit, title) {
  const button = make("button.heart", { type: "button", "aria-label": `Like ${title}`, title: "Like",
    "aria-pressed": likes().includes(hit.id), "data-id": hit.id, "data-key": "heart " + hit.id,
    onclick: () => like(hit.id, title, button).catch((error) => complain(problem, error)) }, icon("heart"));
  const problem = make("span.problem", { role: "alert" });
  return [button, problem];
}

/* ---- why it was found */

const KINDS = { text: "words", image: "picture", audio: "sound" };

/* What each modality of the thing has in its score, over all parts of the query. */
function sharesOf(hit) {
  const shares = {};
  const parts = Array.isArray(hit.explain) ? hit.explain : [];
  for (const part of parts)
    for (const [kind, share] of Object.entries(part.shares)) shares[kind] = (shares[kind] ?? 0) + share;
  return shares;
}

function scoreOf(hit, scale) {
  if (hit.score == null) return null;
  const shares = sharesOf(hit);
  const said = Object.entries(shares).map(([kind, share]) => `${KINDS[kind]} ${share.toFixed(2)}`).join(", ");
  const bar = make("span.bar", { "aria-hidden": "true" });
  for (const [kind, share] of Object.entries(said ? shares : { all: hit.score })) {
    const piece = bar.appendChild(make("i." + kind));
    piece.style.width = `${Math.max(0, (100 * share) / scale)}%`;
  }
  return make("p.score", { title: said }, bar, make("span", { "aria-hidden": "true" }, hit.score.toFixed(2)),
    make("span.unseen", {}, `Score ${hit.score.toFixed(2)}${said && ": " + said}`));
}

/* {more(id): an address, less(id): does it, scale: the score that fills a bar, why: words or null} */
export function card(hit, { more, less, scale, why }) {
  seen.set(hit.id, hit);
  const { title, rest } = namesOf(hit);
  const [heart, problem] = heartButton(hit, title);
  const open = () => details(hit, { more, less });
  return make("li.card", { "data-id": hit.id },
    make("button.picture", { type: "button", "aria-label": `${title}: look closer`, "data-key": "see " + hit.id,
      onclick: open }, pictureOf(hit)),
    heart, hit.audio ? playButton(hit, title) : null,
    make("div.about", {}, make("h3", { title }, title), rest ? make("p.rest", {}, rest) : null,
      scale ? scoreOf(hit, scale) : null, why ? make("p.why", {}, why) : null, problem,
      make("div.acts", {},
        make("a.act.more", { href: more(hit.id), "aria-label": `More like ${title}`, "data-key": "more " + hit.id },
          icon("more"), "More"),
        less ? make("button.act.less", { type: "button", "aria-label": `Less like ${title}`,
          "data-key": "less " + hit.id, onclick: () => less(hit.id) }, icon("less"), "Less") : null)));
}

/* ---- a closer look */

function worded(value) {
  if (Array.isArray(value)) return value.map(worded).join(", ");
  if (value === null || typeof value !== "object") return String(value);
  return Object.entries(value).map(([key, of]) => `${key}: ${worded(of)}`).join(", ");
}

function details(hit, { more, less }) {
  const dialog = $("#item");
  const { title } = namesOf(hit);
  const [heart, problem] = heartButton(hit, title);
  const image = hit.image ? make("img", { alt: "" }) : placard(hit);
  if (hit.image) load(image, itemPath(hit.id) + "/image").catch(() => image.replaceWith(placard(hit)));
  image.addEventListener("error", () => image.replaceWith(placard(hit)));
  dialog.replaceChildren(
    make("button.round.shut", { type: "button", "aria-label": "Close", onclick: () => dialog.close() },
      icon("close")),
    make("div.large", {}, image, hit.audio ? playButton(hit, title) : null),
    make("div.about", {}, make("h2", { id: "item-name" }, title), hit.text ? make("p", {}, hit.text) : null,
      make("div.acts", {}, heart,
        make("a.act.more", { href: more(hit.id), onclick: () => dialog.close() }, icon("more"), "More like this"),
        less ? make("button.act", { type: "button", onclick: () => (dialog.close(), less(hit.id)) },
          icon("less"), "Less like this") : null), problem,
      make("dl", {}, ...Object.entries(hit.attributes ?? {}).flatMap(([key, value]) =>
        [make("dt", {}, key.replaceAll("_", " ")), make("dd", {}, worded(value))]),
      make("dt", {}, "id"), make("dd", {}, make("code", {}, hit.id)))));
  dialog.showModal();
}
