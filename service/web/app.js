/* app.js - the page's beginning: which view the address asks for, what is dropped or pasted anywhere, and
 * single keys. One file a view: find.js, foryou.js, map.js, status.js. query.js is the address; what is not
 * in it is not a state, apart from who is here (people.js). */
import { $ } from "./dom.js";
import * as find from "./find.js";
import * as foryou from "./foryou.js";
import * as map from "./map.js";
import * as people from "./people.js";
import { here, VIEWS } from "./query.js";
import * as status from "./status.js";

const SHOW = { find: find.showFind, foryou: foryou.showForYou, map: map.showMap, status: status.showStatus };
const TITLES = { find: "Find", foryou: "For you", map: "Map", status: "Status" };
let shown = null; // the view

function arrive() {
  const state = here(), { view } = state;
  const another = shown !== null && view !== shown;
  for (const name of VIEWS) $("#view-" + name).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const texts = state.parts.filter(({ kind, wanted }) => kind === "text" && wanted);
  const words = texts.map(({ value }) => value).join(", ");
  document.title = `${view === "find" && words ? words : TITLES[view]} · Magpie`;
  if (shown === "status" && view !== "status") status.leaveStatus();
  // Who uses a screen reader is taken along; who reads by eye begins at the top. A search leaves the focus
  // in its box.
  const follow = another || $("#hits").contains(document.activeElement) || document.activeElement === document.body;
  if (shown !== null && follow) {
    scrollTo(0, 0);
    $(`#${view}-heading`).focus({ preventScroll: true });
  }
  shown = view;
  SHOW[view](state);
}

/* ---- drop and paste, wherever it happens */

const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

function catchFiles() {
  const veil = $("#dropping");
  let depth = 0; // dragenter and dragleave come for every element that is passed
  const count = (by) => veil.classList.toggle("shown", (depth = Math.max(0, depth + by)) > 0);
  addEventListener("dragenter", (event) => holdsFiles(event) && count(1));
  addEventListener("dragleave", (event) => holdsFiles(event) && count(-1));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    count(-depth);
    find.add(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => event.clipboardData.files.length &&
    (event.preventDefault(), find.add(event.clipboardData.files)));
}

/* ---- keys */

/* From card to card as they lie: the next one in the direction, by the middle of each. */
function step(card, key) {
  const cards = [...card.parentElement.children], at = cards.indexOf(card);
  const columns = cards.findIndex((one) => one.offsetTop > cards[0].offsetTop);
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  cards[at + by]?.querySelector(".picture").focus();
}

function cardKey(event, card) {
  const act = { l: ".heart", m: ".more", n: ".less", p: ".play" }[event.key.toLowerCase()];
  if (event.key.startsWith("Arrow")) step(card, event.key);
  else if (act) card.querySelector(act)?.click();
  else return;
  event.preventDefault();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
  const typing = event.target.matches?.("input:not([type=checkbox], [type=range]), textarea");
  const card = event.target.closest?.(".card");
  if (card) cardKey(event, card);
  if (typing || event.defaultPrevented || !$("#keys-on").checked) return;
  if (event.key === "?") $("#help").showModal();
  else if (event.key === "/") {
    event.preventDefault();
    if (here().view !== "find") location.hash = "#find";
    setTimeout(() => $("#words").select()); // after the view is there
  }
}

/* ---- */

function begin() {
  const keysOn = $("#keys-on");
  keysOn.checked = localStorage.getItem("magpie-keys") !== "off";
  keysOn.addEventListener("change", () => localStorage.setItem("magpie-keys", keysOn.checked ? "on" : "off"));
  $("#help-button").addEventListener("click", () => $("#help").showModal());
  $("#skip").addEventListener("click", (event) => (event.preventDefault(), $("#main").focus()));
  for (const dialog of document.querySelectorAll("dialog"))
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
  const wide = matchMedia("(min-width: 56rem)");
  const unfold = () => ($("#side").open = wide.matches);
  wide.addEventListener("change", unfold);
  unfold();
  people.onLikes(() => here().view === "foryou" && foryou.showForYou());
  find.start(), foryou.start(), map.start(), people.start();
  catchFiles();
  addEventListener("keydown", onKey);
  addEventListener("hashchange", arrive);
  arrive();
}

begin();
