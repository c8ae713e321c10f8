/* people.js - who is here, and what they like. A first visitor gets a bird's name, so that a like needs no
 * form first; the name is kept in this browser from the first like on, and the likes by the service. A like
 * that is taken back is one of weight 0: there is one a user, item and kind. */
import { get, send } from "./api.js";
import { $, complain, count, make, refill, say, still } from "./dom.js";

const FIRST = ["Glossy", "Curious", "Dapper", "Bright", "Merry", "Thrifty", "Nimble", "Velvet", "Clever", "Sunny"];
const LAST = ["Jackdaw", "Wren", "Jay", "Starling", "Bowerbird", "Robin", "Heron", "Finch", "Plover", "Raven"];
const any = (list) => list[Math.floor(Math.random() * list.length)];

const kept = JSON.parse(localStorage.getItem("magpie-people") ?? "[]");
const somebody = () => `${any(FIRST)} ${any(LAST)} ${Math.floor(Math.random() * 900) + 100}`;
let names = kept.length ? kept : [somebody()]; // who is here first
let liked = []; // ids, the latest first
let changed = () => {};

export const me = () => names[0];
export const likes = () => liked;
export const onLikes = (listener) => (changed = listener);

const remember = () => localStorage.setItem("magpie-people", JSON.stringify(names));

function paint() {
  const button = $("#person");
  $(".initial", button).textContent = [...me()][0].toUpperCase();
  $(".name", button).textContent = me();
  $(".tally span", button).textContent = liked.length;
  $(".unseen", button).textContent = `${me()}, ${count(liked.length, "like")}. Change who you are`;
  for (const heart of document.querySelectorAll(".heart"))
    heart.setAttribute("aria-pressed", liked.includes(heart.dataset.id));
  refill($("#people-known"), names.slice(1).map((name) =>
    make("li", {}, make("button.plain", { type: "button", onclick: () => become(name) }, name))));
}

/* Whoever is here now: their likes anew. */
async function refresh() {
  const name = me();
  let found = [];
  try {
    found = (await get("/v1/users/" + encodeURIComponent(name))).interactions;
  } catch (error) {
    complain($("#people-problem"), error);
  }
  if (name !== me()) return;
  liked = found.filter(({ kind, weight }) => kind === "like" && weight > 0).map(({ item }) => item);
  paint();
  changed();
}

function become(name) {
  names = [name, ...names.filter((other) => other !== name)].slice(0, 8);
  liked = [];
  remember();
  $("#people-form").reset();
  $("#people").hidePopover();
  say(`You are ${name} now.`);
  return refresh();
}

/* The heart's new state shows at once, and is taken back where the service refuses it. */
export async function like(id, title, button) {
  const before = liked, on = !liked.includes(id);
  remember();
  liked = on ? [id, ...liked] : liked.filter((other) => other !== id);
  paint();
  if (on && !still()) {
    button.animate({ scale: ["1", "1.5", "0.9", "1"] }, { duration: 420, easing: "ease-out" });
    $("#person").animate({ rotate: ["0deg", "-4deg", "3deg", "0deg"] }, { duration: 420 });
  }
  try {
    await send("/v1/interactions", { user: me(), item: id, kind: "like", weight: on ? 1 : 0 });
    say(on ? `You like ${title}.` : `You no longer like ${title}.`);
    changed();
  } catch (error) {
    liked = before;
    paint();
    throw error;
  }
}

export function start() {
  $("#people-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("#people-name").value.trim();
    if (name) become(name);
  });
  $("#people-forget").addEventListener("click", async () => {
    const error = await send("/v1/users/" + encodeURIComponent(me()), undefined, undefined, "DELETE").catch((e) => e);
    const refused = error instanceof Error && error.status !== 404; // 404: there was nothing to forget
    complain($("#people-problem"), refused && error);
    if (refused) return;
    liked = [];
    paint();
    changed();
    say("Your likes are forgotten.");
  });
  paint();
  if (kept.length) refresh();
}
