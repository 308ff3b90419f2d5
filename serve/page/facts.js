// Details: text weight and timings of a search, and the served model.
import { byId, element, number } from "./dom.js";

const ms = (value) => (value < 10 ? value.toFixed(1) : Math.round(value));

function textWeightOf(answer, step) {
  if (answer.text_weight === null) return "";
  const by = step.textWeight !== null ? "set by you" : "set by the model";
  return `text weight ${answer.text_weight.toFixed(2)}, ${by}`;
}

export function showFacts(answer, step) {
  byId("facts").hidden = answer === null;
  if (answer === null) return;
  const { read, reference, encode, search, total } = answer.timings_ms;
  byId("text-weight-used").textContent = textWeightOf(answer, step);
  byId("timings").textContent =
    `read ${ms(read)} · reference ${ms(reference)} · encode ${ms(encode)} · search ${ms(search)} · total ${ms(total)} ms`;
  byId("served").textContent = `generation ${answer.generation} · model ${answer.model}`;
}

export function showAbout(model) {
  const facts = {
    model: model.model,
    backbone: model.backbone,
    combining: model.combining,
    "feature size": number.format(model.dim),
    generation: model.generation,
    items: number.format(model.items),
  };
  for (const [name, value] of Object.entries(model.metrics)) facts[name.replaceAll("_", " ")] = number.format(value);
  byId("about-list").replaceChildren(
    ...Object.entries(facts).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
  byId("notices").replaceChildren(...model.notices.map((notice) => element("li", {}, notice)));
  byId("about").classList.toggle("noticed", model.notices.length > 0);
  byId("about").hidden = false;
}
