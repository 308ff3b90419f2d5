// The trail: a link to every step so far.
import { byId, element, onPlainClick } from "./dom.js";
import { thumbnail } from "./api.js";
import { ownPicture } from "./picture.js";
import { hasReference, ownTexts, urlOf } from "./state.js";

// Visible pixels of the next step, which show that the strip can be scrolled.
const NEXT_PEEKS = 32;

function partsOf(step) {
  const wanted = [ownTexts(step).join(" + "), ...step.texts].filter((text) => text !== "");
  const unwanted = step.not.map(({ id, text }) => (id === null ? `not ${text}` : "not like this"));
  if (wanted.length > 0) return [...wanted, ...unwanted];
  const start = step.picture !== null ? "similar to your picture" : step.also.length > 0 ? "similar to all" : "similar items";
  return [start, ...unwanted];
}

export const describe = (step) => partsOf(step).join(", ");

// Where references or unwanted things are added, the name is what the step before did not have.
function shortName(step, before) {
  if (step.also.length + step.not.length === 0) return describe(step);
  const earlier = before ? partsOf(before) : [];
  return partsOf(step).findLast((part) => !earlier.includes(part)) ?? partsOf(step).at(-1);
}

function thumbnailOf(step) {
  const source = step.picture === null ? thumbnail(step.id, 96, step.number) : ownPicture(step.picture)?.url;
  if (!source) return element("span", { className: "step-none" }, "?");
  return small(source);
}

const small = (source) => element("img", { src: source, alt: "", width: 36, height: 36 });

function entry(state, at, go) {
  const step = state.steps[at];
  const target = { ...state, at };
  const link = element("a", { href: urlOf(target), className: "step" });
  link.dataset.testid = "step";
  link.title = describe(step);
  if (at === state.at) link.setAttribute("aria-current", "step");
  if (hasReference(step)) link.append(thumbnailOf(step), ...step.also.map(({ id, number }) => small(thumbnail(id, 96, number))));
  link.append(element("span", { className: "step-text" }, shortName(step, state.steps[at - 1])));
  onPlainClick(link, () => go(target));
  return element("li", { className: at > state.at ? "later" : "" }, link);
}

function catalogEntry(state, go) {
  const target = { ...state, at: -1 };
  const link = element("a", { href: urlOf(target), className: "step" }, element("span", { className: "step-text" }, "Catalog"));
  if (state.at === -1) link.setAttribute("aria-current", "step");
  onPlainClick(link, () => go(target));
  return element("li", {}, link);
}

export function showTrail(state, go) {
  byId("trail-nav").hidden = state.steps.length === 0;
  const entries = state.steps.map((_, at) => entry(state, at, go));
  const focused = byId("trail").contains(document.activeElement);
  byId("trail").replaceChildren(catalogEntry(state, go), ...entries);
  const shown = byId("trail").querySelector("[aria-current]");
  const end = shown.parentElement.offsetLeft + shown.parentElement.offsetWidth;
  byId("trail").scrollLeft = end - byId("trail").clientWidth + NEXT_PEEKS;
  if (focused) shown.focus({ preventScroll: true });
}
