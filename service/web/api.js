/* api.js - the service's answers, and its pictures and sounds. A key is asked for where the service wants
 * one, and kept for this tab alone; pictures are then fetched by hand: an <img> sends no header. */
import { $, make } from "./dom.js";

let key = sessionStorage.getItem("magpie-key");
let asking = null; // a promise while the dialog is open: whoever is refused meanwhile waits for the same one

export class Refused extends Error {
  constructor(status, { code, message, field } = {}) {
    super(message?.replace(`${field}: `, "") ?? `The server answered ${status}.`); // it is shown where the field is
    Object.assign(this, { status, code, field });
  }
}

function askForKey(why) {
  asking ??= new Promise((resolve) => {
    const dialog = $("#key");
    $("#key-why").textContent = why;
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      asking = null;
      if (dialog.returnValue === "use") sessionStorage.setItem("magpie-key", (key = $("#key-value").value.trim()));
      $("#key-value").value = "";
      resolve(dialog.returnValue === "use");
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function reach(path, options = {}) {
  const used = key;
  const headers = { ...options.headers, ...(used && { Authorization: "Bearer " + used }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { message: "The server cannot be reached. Is it running?" });
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  // Another request may have been given a key since this one went out.
  const again = response.status === 401 && (used !== key || (await askForKey(error?.message ?? "")));
  if (again) return reach(path, options);
  throw new Refused(response.status, error);
}

export const get = async (path, signal) => (await reach(path, { signal })).json();
export const getText = async (path) => (await reach(path)).text();

export async function send(path, body, signal, method = "POST") {
  const headers = { "Content-Type": "application/json" };
  return (await reach(path, { method, headers, body: JSON.stringify(body), signal })).json();
}

export const itemPath = (id) => "/v1/items/" + encodeURIComponent(id);

/* Fills in an <img> or <audio>; rejects where there is nothing to load. */
export async function load(media, path) {
  if (!key) media.src = path;
  else {
    media.src = URL.createObjectURL(await (await reach(path)).blob());
    media.addEventListener("load", () => URL.revokeObjectURL(media.src), { once: true });
  }
}

/* An item's thumbnail, or what `otherwise` makes where it cannot be shown. Its name always stands beside. */
export function thumbnail(id, otherwise) {
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  const giveUp = () => image.replaceWith(otherwise());
  image.addEventListener("error", giveUp, { once: true });
  load(image, itemPath(id) + "/image?size=240").catch(giveUp);
  return image;
}
