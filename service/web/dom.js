/* dom.js - how elements are made. Nowhere on this page is markup made out of text: whatever a catalogue says
 * ends up in a text node or in an attribute that cannot run, so an item called "<img onerror=...>" is only an
 * odd name. */
export const $ = (selector, root = document) => root.querySelector(selector);

/* make("a.card", {href, "aria-label": ..., onclick() {...}}, child, "text", ...); null children are left
 * out. */
export function make(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true || value === false) {
      if (name.startsWith("aria-")) element.setAttribute(name, value);
      else element.toggleAttribute(name, value);
    } else if (value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.appendChild(document.createElementNS(svg.namespaceURI, "use")).setAttribute("href", "#i-" + name);
  return svg;
}

/* Replaces children, and leaves the focus where it was: on what has the same data-key now, else on
 * `otherwise`. */
export function refill(parent, children, otherwise) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  parent.replaceChildren(...children);
  if (focused == null) return;
  const same = [...parent.querySelectorAll("[data-key]")].find((element) => element.dataset.key === focused);
  (same ?? otherwise)?.focus();
}

/* To who does not see the page change. */
export function say(text) {
  $("#said").textContent = text;
}

/* An error where it happened, in words; an empty string takes it away. */
export function complain(where, error) {
  where.textContent = error ? error.message ?? String(error) : "";
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
export const count = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
