// Further references, each with a text of its own, and what is not wanted.
import { byId, element } from "./dom.js";
import { thumbnail } from "./api.js";
import { fetchOnce, nameOf, known } from "./items.js";

const own = byId("own-text");

// Only what this reference gives: "the color of this".
function watchText(input, set) {
  input.addEventListener("change", () => set(input.value.trim()));
  input.addEventListener("keydown", (event) => event.key === "Enter" && input.blur());
}

let setOwn = () => {};
watchText(own, (text) => setOwn(text));

// actions: {setText(index, text), remove(index)}; index -1 is the first reference.
export function showFurther(step, { setText, remove }) {
  const several = step.also.length > 0;
  own.hidden = !several;
  own.value = step.own;
  setOwn = (text) => setText(-1, text);
  const key = JSON.stringify(step.also.map(({ id, number }) => [id, number]));
  const list = byId("also");
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...step.also.map((reference, index) => row(reference, index, setText, remove)));
  }
  step.also.forEach(({ text }, index) => (list.children[index].querySelector("input").value = text));
}

function row({ id, number }, index, setText, remove) {
  const title = element("span", { className: "reference-title" });
  const input = element("input", { type: "text", className: "own-text", maxLength: 300, placeholder: "the … of this" });
  input.dataset.testid = "also-text";
  const cross = element("button", { type: "button", className: "cross" }, "×");
  cross.dataset.testid = "also-remove";
  const picture = element("img", { src: thumbnail(id, 96, number), alt: "", width: 64, height: 64 });
  const name = (text) => {
    title.textContent = text;
    input.setAttribute("aria-label", `What of ${text}?`);
    cross.setAttribute("aria-label", `Remove the reference: ${text}`);
  };
  withName(id, name);
  watchText(input, (text) => setText(index, text));
  cross.addEventListener("click", () => remove(index));
  const caption = element("figcaption", {}, element("span", { className: "label" }, "Also"), title);
  const entry = element("li", { className: "also-row" }, picture, caption, cross, input);
  entry.dataset.testid = "also";
  entry.dataset.id = id;
  return entry;
}

// Calls show(name) with the item's name, again once it is known.
function withName(id, show) {
  show(known.has(id) ? nameOf(known.get(id)) : `item ${id}`);
  if (!known.has(id)) fetchOnce(id).then((item) => item && show(nameOf(item)));
}

// One chip for each thing that is not wanted.
export function unwantedChips(step, remove) {
  return step.not.map(({ id, number, text }, index) => {
    const cross = element("button", { type: "button" }, "×");
    const label = element("span", {}, id === null ? `not ${text}` : "not like this");
    const chip = element("li", { className: "chip unwanted" });
    chip.dataset.testid = "unwanted";
    if (id !== null) chip.append(element("img", { src: thumbnail(id, 96, number), alt: "", width: 28, height: 28 }));
    chip.append(label, cross);
    const name = (what) => {
      label.title = `not like ${what}`;
      cross.setAttribute("aria-label", `Remove: not like ${what}`);
    };
    if (id === null) name(text);
    else withName(id, name);
    cross.addEventListener("click", () => remove(index));
    return chip;
  });
}

export function focusFurther() {
  // On a touch screen the keyboard would cover the results.
  if (!matchMedia("(pointer: coarse)").matches) byId("also").lastElementChild?.querySelector("input").focus();
}
