// The query: the reference picture, the changes as chips, the text field and the text weight.
import { byId, element } from "./dom.js";
import { sized, thumbnail } from "./api.js";
import { fetchOnce, known, nameOf } from "./items.js";
import { ownPicture } from "./picture.js";
import { unwantedChips } from "./references.js";
import { hasReference, isComposed } from "./state.js";

const SETTLE_MS = 250;

const change = byId("change");

export function focusChange() {
  // On a touch screen the keyboard would cover the results.
  if (!matchMedia("(pointer: coarse)").matches) change.focus({ preventScroll: true });
}

// choose(number): makes another picture of the reference item the reference.
export function showReference(step, choose) {
  const card = byId("reference");
  const own = step.picture === null ? null : ownPicture(step.picture);
  const missing = step.picture !== null && !own;
  card.hidden = !hasReference(step) || missing;
  byId("start").hidden = !card.hidden;
  card.dataset.id = step.id ?? "";
  if (card.hidden) return byId("reference-image").removeAttribute("src");
  const source = own ? own.url : thumbnail(step.id, 512, step.number);
  if (byId("reference-image").getAttribute("src") !== source) byId("reference-image").src = source;
  setTitle(own ? own.title : known.has(step.id) ? nameOf(known.get(step.id)) : `item ${step.id}`);
  showPictures(step, choose);
  if (!own && !known.has(step.id)) fetchTitle(step, choose);
}

// The pictures of the reference item, if it has several.
function showPictures(step, choose) {
  const images = (step.id !== null && known.get(step.id)?.images) || [];
  byId("reference-pictures").hidden = images.length < 2;
  byId("reference-pictures").replaceChildren(
    ...images.map((image, number) => {
      const label = `Picture ${number + 1} of ${images.length}`;
      const picture = element("img", { src: sized(image, 96), alt: "", width: 44, height: 44 });
      const choice = element("button", { type: "button", "aria-label": label, title: label }, picture);
      choice.setAttribute("aria-pressed", String(number === step.number));
      choice.addEventListener("click", () => choose(number));
      return choice;
    }),
  );
}

function setTitle(title) {
  byId("reference-title").textContent = title;
  byId("reference-image").alt = title;
}

async function fetchTitle(step, choose) {
  const { id } = step;
  const item = await fetchOnce(id);
  if (!item || byId("reference").dataset.id !== id) return;
  setTitle(nameOf(item));
  showPictures(step, choose);
}

// remove(index) removes a change, removeUnwanted(index) something that is not wanted.
export function showChips(step, remove, removeUnwanted) {
  const texts = hasReference(step) ? step.texts : [];
  byId("chips").replaceChildren(
    ...texts.map((text, index) => {
      const cross = element("button", { type: "button", "aria-label": `Remove the change: ${text}` }, "×");
      cross.addEventListener("click", () => remove(index));
      const chip = element("li", { className: "chip" }, element("span", { title: text }, text), cross);
      chip.dataset.testid = "chip";
      return chip;
    }),
    ...unwantedChips(step, removeUnwanted),
  );
}

let fieldIsFor = null;

// With a reference, the field takes the next change; without one, it holds the text of the search.
export function showField(step) {
  const withReference = hasReference(step);
  const label = !withReference
    ? "Describe what you are looking for"
    : step.also.length > 0
      ? "What should be different from all of them?"
    : step.texts.length > 0
      ? "Add another change, or “not …”"
      : "What should be different?";
  change.placeholder = withReference && step.texts.length === 0 ? `${label} “the same in red, …”` : label;
  change.setAttribute("aria-label", label);
  // Text that is being typed stays when the filters or the text weight change.
  const query = JSON.stringify([step.id, step.picture, step.texts]);
  if (query === fieldIsFor) return;
  fieldIsFor = query;
  change.value = withReference ? "" : step.texts.join(", ");
}

const slider = byId("text-weight");

function showValue(textWeight) {
  byId("text-weight-value").textContent = textWeight === null ? "auto" : textWeight.toFixed(2);
}

export function showTextWeight(step, model) {
  const fixed = model !== null && !model.has_text_weight;
  const why = fixed
    ? "This model has no text weight that can be set."
    : isComposed(step)
      ? ""
      : "Needs a reference picture and a change.";
  byId("text-weight-control").hidden = !hasReference(step) && !fixed;
  byId("text-weight-control").classList.toggle("auto", step.textWeight === null);
  byId("text-weight-control").title = slider.title = why;
  byId("text-weight-hint").textContent = fixed ? why : "";
  slider.disabled = why !== "";
  byId("text-weight-auto").disabled = why !== "" || step.textWeight === null;
  slider.value = step.textWeight ?? 0.5;
  showValue(step.textWeight);
}

// Until the visitor moves the slider, it shows the text weight that the model used.
export function showUsedTextWeight(step, textWeight) {
  if (step.textWeight === null) slider.value = textWeight ?? 0.5;
}

export function watchTextWeight(set) {
  let timer;
  slider.addEventListener("input", () => {
    const textWeight = Number(slider.value);
    byId("text-weight-control").classList.remove("auto");
    showValue(textWeight);
    clearTimeout(timer);
    timer = setTimeout(() => set(textWeight), SETTLE_MS);
  });
  byId("text-weight-auto").addEventListener("click", () => {
    clearTimeout(timer);
    set(null);
  });
}
