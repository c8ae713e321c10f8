/* foryou.js - what the service recommends to who is here, anew at every like. */
import { send } from "./api.js";
import { card, itemOf, namesOf, pictureOf, titleOf } from "./cards.js";
import { $, complain, make, refill, say } from "./dom.js";
import { like, likes, me } from "./people.js";
import { moreLike } from "./query.js";

const BY = {
  model: "By what people with your taste like.",
  content: "By likeness to what you like.",
  popularity: "By what is popular and new: nothing is known of your taste yet. Give a heart to something.",
};
let asked = 0;

/* The liked things themselves; to press one is to change one's mind. */
function showNest() {
  refill($("#nest"), likes().slice(0, 24).map((id) => {
    const button = make("button", { type: "button", "data-key": "nest " + id });
    itemOf(id).then((item) => {
      const { title } = namesOf(item);
      button.title = `Take ${title} out of what you like`;
      button.setAttribute("aria-label", button.title);
      button.append(pictureOf(item));
      button.addEventListener("click", () =>
        like(id, title, button).catch((error) => complain($("#foryou-problem"), error)));
    });
    return make("li", {}, button);
  }), $("#foryou-heading"));
}

async function because({ explain }) {
  const id = explain?.nearest?.id;
  return id ? `Since you like ${await titleOf(id)}` : null;
}

export async function showForYou() {
  const mine = ++asked;
  showNest();
  $("#recommended").setAttribute("aria-busy", "true");
  try {
    const request = { user: me(), k: 24, exclude_seen: true, diversity: +$("#diversity").value, explain: true };
    const { hits, by } = await send("/v1/recommend", request);
    const reasons = await Promise.all(hits.map(because));
    if (mine !== asked) return;
    const cards = hits.map((hit, i) => card(hit, { more: moreLike, why: reasons[i] }));
    refill($("#recommended"), cards, $("#foryou-heading"));
    $("#foryou-why").textContent = hits.length ? BY[by] ?? "" : "There is nothing to recommend yet.";
    complain($("#foryou-problem"), "");
    say(`${hits.length} recommendations.`);
  } catch (error) {
    if (mine === asked) complain($("#foryou-problem"), error);
  }
  $("#recommended").setAttribute("aria-busy", "false");
}

export function start() {
  $("#diversity").addEventListener("change", showForYou);
}
