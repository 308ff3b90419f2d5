// Connects the modules: actions of the visitor make a new state, and the page shows the state.
import { button, byId, isTextField, onPlainClick, toast } from "./dom.js";
import { getModel, sendFeedback } from "./api.js";
import { showAbout } from "./facts.js";
import { Filters } from "./filters.js";
import { focusFirst, showLoading } from "./grid.js";
import { keepPicture, makeSmall, ownPicture, watchPictures } from "./picture.js";
import { focusFurther, showFurther } from "./references.js";
import { focusChange, showChips, showField, showReference, showTextWeight, watchTextWeight } from "./query.js";
import { Results } from "./results.js";
import {
  MOST_REFERENCES, MOST_TEXTS, MOST_UNWANTED, Store, current, hasReference, isBrowsing, isComposed, ownTexts, start, urlOf,
  withChange, withStep, withoutFirst,
} from "./state.js";
import { describe, showTrail } from "./trail.js";

const change = byId("change");
const store = new Store(() => show());
const go = (state) => store.go(state);
const step = () => current(store.state);

let model = null;
let filters = null;

const results = new Results({
  links: { href: (item, number) => urlOf(withStep(store.state, { id: item.id, number })), pick, additions },
  clearFilters: () => setFilter({}),
});

const setFilter = (filter) => go({ ...store.state, filter });

// ---- actions of the visitor

function pick(item, number) {
  sendChoice(item);
  go(withStep(store.state, { id: item.id, number }));
  focusChange();
}

// What a card offers beside being picked.
function additions() {
  const also = { label: "also this", sign: "+", testid: "also-this", act: addReference };
  const not = { label: "not like this", sign: "−", testid: "not-this", act: (item, number) => addUnwanted(item.id, number, "") };
  return [...(hasReference(step()) ? [also] : []), ...(isBrowsing(step()) ? [] : [not])];
}

function addReference(item, number) {
  const { also } = step();
  if (also.length + 1 >= MOST_REFERENCES) return toast(`At most ${MOST_REFERENCES} references: remove one first.`);
  go(withStep(store.state, { ...step(), also: [...also, { id: item.id, number, text: "" }] }));
  toast("Added as a reference. Say what each one is for.");
  focusFurther();
}

function removeFurther(index) {
  const also = step().also.toSpliced(index, 1);
  go(withStep(store.state, { ...step(), also, own: also.length > 0 ? step().own : "" }));
  focusChange();
}

// index -1 is the first reference.
function setOwnText(index, text) {
  const { also } = step();
  go(withChange(store.state, index < 0 ? { own: text } : { also: also.with(index, { ...also[index], text }) }));
}

function addUnwanted(id, number, text) {
  const { not } = step();
  if (not.length >= MOST_UNWANTED) return toast(`At most ${MOST_UNWANTED} of “not …”: remove one first.`);
  go(withStep(store.state, { ...step(), not: [...not, { id, number, text }] }));
  if (id !== null) toast("The results move away from this item.");
}

function removeUnwanted(index) {
  go(withStep(store.state, { ...step(), not: step().not.toSpliced(index, 1) }));
  focusChange();
}

// The visitor chose this item for one reference with a text: training data for the Combiner.
function sendChoice(item) {
  const { id, texts, also, not } = step();
  if (texts.length === 0 || also.length + not.length > 0 || !results.answer) return;
  sendFeedback({ reference: id, texts, chosen: item.id, generation: results.answer.generation });
}

function submitText() {
  const text = change.value.trim();
  if (!text) return;
  const unwanted = /^not\s+(\S.*)$/i.exec(text)?.[1];
  if (unwanted) return submitUnwanted(unwanted);
  if (!hasReference(step())) return go(withStep(store.state, { texts: [text], not: step().not }));
  if (step().texts.length >= MOST_TEXTS) return toast(`At most ${MOST_TEXTS} changes: remove one, or pick a result.`);
  go(withStep(store.state, { ...step(), texts: [...step().texts, text] }));
}

function submitUnwanted(text) {
  if (isBrowsing(step())) return toast("First say what you are looking for, or pick an item.");
  addUnwanted(null, 0, text);
  change.value = hasReference(step()) ? "" : step().texts.join(", ");
}

function removeChange(index) {
  const texts = step().texts.toSpliced(index, 1);
  const textWeight = texts.length + ownTexts(step()).length > 0 ? step().textWeight : null;
  go(withStep(store.state, { ...step(), texts, textWeight }));
  focusChange();
}

function removeReference() {
  const { texts, also, not } = step();
  const joined = texts.join(", ");
  if (also.length > 0) go(withStep(store.state, withoutFirst(step())));
  else if (texts.length === 0) go({ ...store.state, at: -1 });
  else go(withStep(store.state, { texts: [joined.length <= change.maxLength ? joined : texts.at(-1)], not }));
  focusChange();
}

async function takePicture(file) {
  const blob = await makeSmall(file).catch(() => null);
  if (!blob) return toast("Your browser cannot read this picture. Try a JPEG or PNG.");
  const { picture, texts } = step();
  if (picture !== null && !ownPicture(picture)) {
    // This state came from a link, which has no picture: now it has one.
    keepPicture(blob, "Your picture", picture);
    return show();
  }
  const typed = change.value.trim();
  go(withStep(store.state, { picture: keepPicture(blob, "Your picture") }));
  if (typed !== texts.join(", ")) change.value = typed;
  focusChange();
}

async function share() {
  const copied = await copy(location.href);
  const own = step().picture !== null ? " Your own picture is not part of it." : "";
  toast(copied ? `Link copied.${own}` : "The link could not be copied: copy it from the address bar.");
}

// Browsers allow the clipboard only on https and localhost.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

// ---- display

function heading() {
  if (isBrowsing(step())) return "Catalog";
  return isComposed(step()) || !hasReference(step()) ? `“${describe(step())}”` : sentence(describe(step()));
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1);

function show() {
  const { state } = store;
  const name = model?.name || "Catalog";
  byId("heading").textContent = heading();
  document.title = isBrowsing(step()) ? name : `${describe(step())} – ${name}`;
  byId("undo").disabled = !store.canUndo;
  byId("search").textContent = isComposed(step()) ? "Refine" : "Search";
  showTrail(state, go);
  showReference(step(), (number) => go(withChange(store.state, { number })));
  showFurther(step(), { setText: setOwnText, remove: removeFurther });
  showChips(step(), removeChange, removeUnwanted);
  showField(step());
  showTextWeight(step(), model);
  filters?.sync();
  results.show(state);
}

async function begin() {
  byId("error").hidden = true;
  showLoading();
  try {
    model = await getModel();
  } catch (problem) {
    byId("error").replaceChildren(problem.message, button("Try again", begin));
    byId("error").hidden = false;
    byId("grid").replaceChildren();
    return;
  }
  byId("catalog").textContent = model.name || "Catalog";
  filters = new Filters(model.attributes, () => store.state.filter, setFilter);
  showAbout(model);
  show();
}

// ---- event handlers

byId("query-form").addEventListener("submit", (event) => {
  event.preventDefault();
  submitText();
});
byId("reference-remove").addEventListener("click", removeReference);
byId("undo").addEventListener("click", () => store.undo());
byId("share").addEventListener("click", share);
onPlainClick(byId("home"), () => go(start()));
// Not a plain anchor, because the URL fragment holds the state.
onPlainClick(byId("skip"), () => byId("results").focus());
watchPictures(takePicture);
watchTextWeight((textWeight) => isComposed(step()) && go(withChange(store.state, { textWeight })));

window.addEventListener("keydown", (event) => {
  const typing = isTextField(event.target);
  if (event.key === "Escape" && !byId("key-dialog").open) document.activeElement?.blur();
  else if (event.key === "/" && !typing) focusOn(event);
  else if (event.key === "ArrowDown" && event.target === change) focusFirst();
  else if (event.key?.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !typing) {
    event.preventDefault();
    store.undo();
  }
});

function focusOn(event) {
  event.preventDefault();
  change.focus();
  change.select();
}

begin();
