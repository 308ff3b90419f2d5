// The query: the reference picture, the changes as chips, the text field and the balance of the two.
import { byId, element } from "./dom.js";
import { getItem, thumbnail } from "./api.js";
import { nameOf } from "./grid.js";
import { ownPicture } from "./picture.js";
import { hasReference, isComposed } from "./state.js";

const SETTLE_MS = 250;
const known = new Map();

// Items that were seen in the grid need not be asked for again.
export function remember(items) {
  for (const item of items) known.set(item.id, item);
}

const change = byId("change");

export function focusChange() {
  // On a touch screen the keyboard would cover the results that were just asked for.
  if (!matchMedia("(pointer: coarse)").matches) change.focus({ preventScroll: true });
}

export function showReference(step) {
  const card = byId("reference");
  const own = step.picture === null ? null : ownPicture(step.picture);
  const missing = step.picture !== null && !own;
  card.hidden = !hasReference(step) || missing;
  byId("start").hidden = !card.hidden;
  card.dataset.id = step.id ?? "";
  if (card.hidden) return byId("reference-image").removeAttribute("src");
  const source = own ? own.url : thumbnail(step.id, 512);
  if (byId("reference-image").getAttribute("src") !== source) byId("reference-image").src = source;
  setTitle(own ? own.title : known.has(step.id) ? nameOf(known.get(step.id)) : `item ${step.id}`);
  if (!own && !known.has(step.id)) fetchTitle(step.id);
}

function setTitle(title) {
  byId("reference-title").textContent = title;
  byId("reference-image").alt = title;
}

// After a link was opened; a missing item is reported by the search itself.
async function fetchTitle(id) {
  const item = await getItem(id).catch(() => null);
  if (!item) return;
  remember([item]);
  if (byId("reference").dataset.id === id) setTitle(nameOf(item));
}

export function showChips(step, remove) {
  const texts = hasReference(step) ? step.texts : [];
  byId("chips").replaceChildren(
    ...texts.map((text, index) => {
      const cross = element("button", { type: "button", "aria-label": `Remove the change: ${text}` }, "×");
      cross.addEventListener("click", () => remove(index));
      const chip = element("li", { className: "chip" }, element("span", { title: text }, text), cross);
      chip.dataset.testid = "chip";
      return chip;
    }),
  );
}

let fieldIsFor = null;

// Beside a reference the field takes the next change; alone it holds the text that was searched for.
export function showField(step) {
  const withReference = hasReference(step);
  const words = !withReference
    ? "Describe what you look for"
    : step.texts.length > 0
      ? "Add another change"
      : "What should be different?";
  change.placeholder = withReference && step.texts.length === 0 ? `${words} “the same in red, …”` : words;
  change.setAttribute("aria-label", words);
  // Words that are being typed survive a change of filters or balance.
  const query = JSON.stringify([step.id, step.picture, step.texts]);
  if (query === fieldIsFor) return;
  fieldIsFor = query;
  change.value = withReference ? "" : step.texts.join(", ");
}

const slider = byId("weight");

function sayWeight(step) {
  byId("weight-value").textContent = step.weight === null ? "auto" : `${Math.round(step.weight * 100)} % text`;
}

export function showWeight(step, model) {
  const fixed = model !== null && !model.has_text_weight;
  const why = fixed
    ? "This model mixes picture and text by itself; the balance cannot be set."
    : isComposed(step)
      ? ""
      : "Needs a reference picture and a change.";
  byId("balance").hidden = !hasReference(step) && !fixed;
  byId("balance").classList.toggle("auto", step.weight === null);
  byId("balance").title = slider.title = why;
  byId("weight-hint").textContent = fixed ? why : "";
  slider.disabled = why !== "";
  byId("weight-auto").disabled = why !== "" || step.weight === null;
  slider.value = step.weight ?? 0.5;
  sayWeight(step);
}

// While nobody has moved the slider it stands where the model put it.
export function showChosenWeight(step, textWeight) {
  if (step.weight === null) slider.value = textWeight ?? 0.5;
}

export function watchWeight(set) {
  let timer;
  slider.addEventListener("input", () => {
    const weight = Number(slider.value);
    byId("balance").classList.remove("auto");
    sayWeight({ weight });
    clearTimeout(timer);
    timer = setTimeout(() => set(weight), SETTLE_MS);
  });
  byId("weight-auto").addEventListener("click", () => {
    clearTimeout(timer);
    set(null);
  });
}
