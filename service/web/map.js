/* map.js - the whole catalogue on a canvas: what is alike lies close. At any distance some things show their
 * picture, as many as there is room for, and the others are dots: there is something to see from far, and
 * everything from near. A canvas says nothing to who cannot see it: what is in the middle of the view stands
 * beside it as plain links. */
import { get, itemPath, load } from "./api.js";
import { itemOf, namesOf, pictureOf } from "./cards.js";
import { $, complain, count, make, refill, say } from "./dom.js";
import { likes } from "./people.js";
import { moreLike } from "./query.js";

const PICTURE = 54, APART = 70, REACH = 34; // CSS pixels: a picture's side, between middles, that a pointer reaches
const HUES = 36, NEAR = 8, CLOSEST = 400; // times the whole
const canvas = $("#map-canvas"), pen = canvas.getContext("2d"), tip = $("#map-tip");
let map = null; // {ids, x, y: in -1..1, hue, order: of precedence among pictures}
const view = { x: 0, y: 0, zoom: 1 }; // the middle, in the map's units; their size in pixels, upwards
let width = 0, height = 0, least = 1, stretch = 1; // stretch: sideways, to fill what is no square
let frame = 0, settled = 0, byKeys = false;

/* Into -1..1, and a hue by direction: neighbours have colours alike. */
function prepare({ ids, x, y }) {
  const centred = (list) => {
    const low = list.reduce((a, b) => Math.min(a, b)), half = (list.reduce((a, b) => Math.max(a, b)) - low) / 2 || 1;
    return list.map((v) => (v - low) / half - 1);
  };
  [x, y] = [centred(x), centred(y)];
  const hue = x.map((v, i) => Math.floor(((Math.atan2(y[i], v) / Math.PI + 1) / 2) * (HUES - 1e-6)));
  const chance = (i) => Math.imul(i + 1, 0x9e3779b1) >>> 0; // the same in every frame
  return { ids, x, y, hue, order: ids.map((_, i) => i).sort((a, b) => chance(a) - chance(b)) };
}

/* ---- drawing */

const screenX = (i) => width / 2 + (map.x[i] - view.x) * view.zoom * stretch;
const screenY = (i) => height / 2 - (map.y[i] - view.y) * view.zoom;
const inView = (x, y, margin) => x > -margin && y > -margin && x < width + margin && y < height + margin;

function drawDots() {
  const radius = Math.max(1.7, Math.min(5, 1.7 * Math.sqrt(view.zoom / least)));
  const lightness = matchMedia("(prefers-color-scheme: dark)").matches ? 0.76 : 0.62;
  const of = Array.from({ length: HUES }, () => new Path2D());
  for (let i = 0; i < map.ids.length; i++) {
    const x = screenX(i), y = screenY(i);
    if (!inView(x, y, radius)) continue;
    of[map.hue[i]].moveTo(x + radius, y);
    of[map.hue[i]].arc(x, y, radius, 0, 7);
  }
  of.forEach((path, hue) => {
    pen.fillStyle = `oklch(${lightness} 0.13 ${(360 * hue) / HUES})`;
    pen.fill(path);
  });
}

const pictures = new Map(); // id -> an image; null: it has none

function imageOf(id) {
  if (!pictures.has(id)) {
    const image = new Image(), none = () => (pictures.set(id, null), draw());
    pictures.set(id, image);
    image.addEventListener("load", draw);
    image.addEventListener("error", none);
    itemOf(id).then((item) => (item.image ? load(image, itemPath(id) + "/image?size=240") : none())).catch(none);
  }
  return pictures.get(id);
}

function drawPicture(i, image, liked) {
  const x = screenX(i) - PICTURE / 2, y = screenY(i) - PICTURE / 2;
  const scale = (PICTURE - 8) / Math.max(image.naturalWidth, image.naturalHeight);
  const w = image.naturalWidth * scale, h = image.naturalHeight * scale;
  pen.beginPath();
  pen.roundRect(x, y, PICTURE, PICTURE, 10);
  pen.fillStyle = "#fff";
  Object.assign(pen, { shadowColor: "rgb(0 0 0 / .25)", shadowBlur: 5, shadowOffsetY: 1 });
  pen.fill();
  pen.shadowColor = "transparent";
  pen.drawImage(image, x + (PICTURE - w) / 2, y + (PICTURE - h) / 2, w, h);
  if (liked) Object.assign(pen, { strokeStyle: "#e0387a", lineWidth: 3 }), pen.stroke();
}

/* What is liked, above the others; these by chance, where no other one lies: from nearer, the same and more. */
function drawPictures() {
  const taken = new Map(), loved = new Set(likes());
  const square = (x, y) => Math.floor(x / APART) + 4096 * Math.floor(y / APART);
  const free = (x, y) => {
    for (const dx of [-APART, 0, APART])
      for (const dy of [-APART, 0, APART])
        for (const [ox, oy] of taken.get(square(x + dx, y + dy)) ?? [])
          if (Math.abs(x - ox) < APART && Math.abs(y - oy) < APART) return false;
    return true;
  };
  const place = (i) => {
    const x = screenX(i), y = screenY(i), liked = loved.has(map.ids[i]);
    if (!inView(x, y, PICTURE) || pictures.get(map.ids[i]) === null || !(liked || free(x, y))) return;
    const image = imageOf(map.ids[i]);
    taken.set(square(x, y), [...(taken.get(square(x, y)) ?? []), [x, y]]);
    if (image.complete && image.naturalWidth) drawPicture(i, image, liked);
  };
  map.order.forEach((i) => loved.has(map.ids[i]) || place(i));
  map.order.forEach((i) => loved.has(map.ids[i]) && place(i));
}

function draw() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (!map || !width) return;
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    pen.clearRect(0, 0, width, height);
    drawDots();
    drawPictures();
  });
}

function fit() {
  ({ width, height } = canvas.getBoundingClientRect());
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  stretch = Math.max(0.6, Math.min(1.8, width / height));
  least = Math.min(width / stretch, height) / 2.25;
  move(0, 0, Math.max(1, least / view.zoom));
}

/* By pixels, and nearer by a factor, so that what is at x, y stays there. */
function move(right, down, factor = 1, x = width / 2, y = height / 2) {
  const before = view.zoom, within = (v) => Math.max(-1, Math.min(1, v));
  view.zoom = Math.max(least, Math.min(least * CLOSEST, before * factor));
  const shift = 1 / before - 1 / view.zoom;
  view.x = within(view.x - right / view.zoom / stretch + ((x - width / 2) * shift) / stretch);
  view.y = within(view.y + down / view.zoom - (y - height / 2) * shift);
  tip.hidden = true;
  draw();
  clearTimeout(settled);
  settled = setTimeout(listNear, 250);
}

function showAll() {
  Object.assign(view, { x: 0, y: 0, zoom: least });
  move(0, 0);
}

/* ---- what is there */

function nearest(x, y, n, within = Infinity) {
  const found = [];
  for (let i = 0; i < map.ids.length; i++) {
    const distance = Math.max(Math.abs(screenX(i) - x), Math.abs(screenY(i) - y)); // as pictures are: squares
    if (distance <= within) found.push([distance, map.ids[i]]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, n).map(([, id]) => id);
}

async function listNear() {
  if (!map) return;
  const items = await Promise.all(nearest(width / 2, height / 2, NEAR).map(itemOf));
  refill($("#near"), items.map((item) => make("li", {}, make("a", { href: moreLike(item.id), "data-key": item.id },
    pictureOf(item), make("span", {}, namesOf(item).title)))));
  if (byKeys) say(`In the middle: ${items.slice(0, 3).map((item) => namesOf(item).title).join("; ")}.`);
  byKeys = false;
}

let hovered = null;
async function hover(x, y) {
  const [id] = nearest(x, y, 1, REACH);
  canvas.classList.toggle("on", id != null);
  if (id !== hovered) {
    hovered = id;
    tip.hidden = true;
    const item = id != null && (await itemOf(id));
    if (!item || id !== hovered) return; // the pointer has gone on
    tip.replaceChildren(pictureOf(item), make("span", {}, namesOf(item).title));
    tip.hidden = false;
  }
  tip.style.left = `${Math.max(8, Math.min(x + 20, width - 190))}px`;
  tip.style.top = `${y > height / 2 ? y - 20 - tip.offsetHeight : y + 20}px`;
}

/* ---- fingers, mouse and keys */

const down = new Map(); // pointer -> where it is
let travelled = 0;

function pointerMove({ pointerId, pointerType, offsetX: x, offsetY: y }) {
  const was = down.get(pointerId), other = [...down].find(([id]) => id !== pointerId)?.[1];
  if (!was) return pointerType === "mouse" && map && hover(x, y);
  down.set(pointerId, [x, y]);
  travelled += Math.hypot(x - was[0], y - was[1]);
  if (!other) return move(x - was[0], y - was[1]);
  const apart = (at) => Math.max(1, Math.hypot(at[0] - other[0], at[1] - other[1]));
  move(0, 0, apart([x, y]) / apart(was), (x + other[0]) / 2, (y + other[1]) / 2);
}

function pointerUp({ type, pointerId, offsetX, offsetY }) {
  const tapped = type === "pointerup" && down.size === 1 && travelled < 6 && map;
  const [id] = tapped ? nearest(offsetX, offsetY, 1, REACH) : [];
  down.delete(pointerId);
  if (id != null) location.hash = moreLike(id);
}

const KEYS = {
  ArrowLeft: () => move(width / 8, 0), ArrowRight: () => move(-width / 8, 0),
  ArrowUp: () => move(0, height / 8), ArrowDown: () => move(0, -height / 8),
  "+": () => move(0, 0, 1.5), "=": () => move(0, 0, 1.5), "-": () => move(0, 0, 1 / 1.5), 0: showAll,
  Enter: () => (location.hash = moreLike(nearest(width / 2, height / 2, 1)[0])),
};

export function start() {
  canvas.addEventListener("pointerdown", ({ pointerId, offsetX, offsetY }) => {
    if (!down.size) travelled = 0;
    down.set(pointerId, [offsetX, offsetY]);
    canvas.setPointerCapture(pointerId);
  });
  canvas.addEventListener("pointermove", pointerMove);
  canvas.addEventListener("pointerup", pointerUp);
  canvas.addEventListener("pointercancel", pointerUp);
  canvas.addEventListener("pointerleave", () => (hovered = null, tip.hidden = true));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    move(0, 0, Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || !map || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    byKeys = true;
    KEYS[event.key]();
  });
  $("#map-in").addEventListener("click", () => move(0, 0, 2));
  $("#map-out").addEventListener("click", () => move(0, 0, 0.5));
  $("#map-all").addEventListener("click", showAll);
  new ResizeObserver(() => canvas.offsetWidth && fit()).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

export async function showMap() {
  try {
    $("#map-about").textContent = map ? "" : "The map is being drawn; that may take some seconds …";
    map ??= prepare(await get("/v1/map"));
    $("#map-about").textContent = `${count(map.ids.length, "thing")}; what is alike lies close`;
    complain($("#map-problem"), "");
    fit();
  } catch (error) {
    $("#map-about").textContent = "";
    complain($("#map-problem"), error.status === 404 ? "This server has no map." : error);
  }
}
