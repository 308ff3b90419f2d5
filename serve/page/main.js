// Connects the modules: actions of the visitor make a new state, and the page shows the state.
import { button, byId, isTextField, onPlainClick, toast } from "./dom.js";
import { getModel, sendFeedback } from "./api.js";
import { showAbout } from "./facts.js";
import { Filters } from "./filters.js";
import { focusFirst, showLoading } from "./grid.js";
import { keepPicture, makeSmall, ownPicture, watchPictures } from "./picture.js";
import { focusChange, showChips, showField, showReference, showTextWeight, watchTextWeight } from "./query.js";
import { Results } from "./results.js";
import { MOST_TEXTS, Store, current, hasReference, isBrowsing, isComposed, start, urlOf, withNumber, withStep, withTextWeight } from "./state.js";
import { describe, showTrail } from "./trail.js";

const change = byId("change");
const store = new Store(() => show());
const go = (state) => store.go(state);
const step = () => current(store.state);

let model = null;
let filters = null;

const results = new Results({
  links: { href: (item, number) => urlOf(withStep(store.state, { id: item.id, number })), pick },
  clearFilters: () => setFilter({}),
});

const setFilter = (filter) => go({ ...store.state, filter });

// ---- actions of the visitor

function pick(item, number) {
  sendChoice(item);
  go(withStep(store.state, { id: item.id, number }));
  focusChange();
}

// The visitor chose this item for a query with a text: training data for the Combiner.
function sendChoice(item) {
  const { id, texts } = step();
  if (texts.length === 0 || !results.answer) return;
  sendFeedback({ reference: id, texts, chosen: item.id, generation: results.answer.generation });
}

function submitText() {
  const text = change.value.trim();
  if (!text) return;
  if (!hasReference(step())) return go(withStep(store.state, { texts: [text] }));
  if (step().texts.length >= MOST_TEXTS) return toast(`At most ${MOST_TEXTS} changes: remove one, or pick a result.`);
  go(withStep(store.state, { ...step(), texts: [...step().texts, text] }));
}

function removeChange(index) {
  const texts = step().texts.toSpliced(index, 1);
  const textWeight = texts.length > 0 ? step().textWeight : null;
  go(withStep(store.state, { ...step(), texts, textWeight }));
  focusChange();
}

function removeReference() {
  const texts = step().texts;
  const joined = texts.join(", ");
  if (texts.length === 0) go({ ...store.state, at: -1 });
  else go(withStep(store.state, { texts: [joined.length <= change.maxLength ? joined : texts.at(-1)] }));
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
  return step().texts.length > 0 ? `“${describe(step())}”` : "Similar items";
}

function show() {
  const { state } = store;
  const name = model?.name || "Catalog";
  byId("heading").textContent = heading();
  document.title = isBrowsing(step()) ? name : `${describe(step())} – ${name}`;
  byId("undo").disabled = !store.canUndo;
  byId("search").textContent = isComposed(step()) ? "Refine" : "Search";
  showTrail(state, go);
  showReference(step(), (number) => go(withNumber(store.state, number)));
  showChips(step(), removeChange);
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
watchTextWeight((textWeight) => isComposed(step()) && go(withTextWeight(store.state, textWeight)));

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
