// The filters: one group per attribute that /v1/model lists.
import { byId, element, number } from "./dom.js";

const SHOWN_VALUES = 10;
const OPEN_GROUPS = 5;

const listOf = (condition) => (Array.isArray(condition) ? condition : condition === undefined ? [] : [condition]);
const readable = (name) => name.replace(/[_-]+/g, " ");

// Builds the controls once. get() returns the current filter; set(filter) replaces it.
export class Filters {
  constructor(attributes, get, set) {
    this.get = get;
    this.set = set;
    this.syncs = [];
    byId("filters").hidden = attributes.length === 0;
    byId("filters-body").replaceChildren(...attributes.map((attribute, index) => this.group(attribute, index)));
    byId("filters-clear").onclick = () => set({});
    byId("filters-toggle").onclick = () => this.toggle();
  }

  // On a phone the groups are collapsed below their heading.
  toggle() {
    const open = byId("filters").classList.toggle("open");
    byId("filters-toggle").setAttribute("aria-expanded", open);
  }

  // Updates the controls to the current filter.
  sync() {
    const used = Object.keys(this.get()).length;
    byId("filters-count").textContent = used > 0 ? used : "";
    byId("filters-clear").hidden = used === 0;
    for (const sync of this.syncs) sync(this.get());
  }

  change(name, condition) {
    const { [name]: _, ...others } = this.get();
    this.set(condition === undefined ? others : { ...others, [name]: condition });
  }

  group(attribute, index) {
    const controls = { keyword: this.keyword, number: this.range, bool: this.yesNo }[attribute.kind];
    const body = element("div", { role: "group", "aria-label": readable(attribute.name), className: "filter-body" });
    const mark = element("span", { className: "dot", hidden: true });
    body.append(...controls.call(this, attribute));
    this.syncs.push((filter) => (mark.hidden = !(attribute.name in filter)));
    const summary = element("summary", {}, readable(attribute.name), mark);
    return element("details", { open: index < OPEN_GROUPS }, summary, body);
  }

  keyword({ name, values }) {
    const box = element("div", { className: "options" });
    values.forEach(([value, count], index) => {
      const option = this.option(name, value, count);
      if (index >= SHOWN_VALUES) option.classList.add("rest");
      box.append(option);
    });
    if (values.length <= SHOWN_VALUES) return [box];
    const more = element("button", { type: "button", className: "small" }, `${values.length - SHOWN_VALUES} more`);
    more.addEventListener("click", () => {
      box.classList.add("all");
      box.querySelector(".rest input").focus();
      more.remove();
    });
    return [box, more];
  }

  option(name, value, count) {
    const input = element("input", { type: "checkbox", className: "unseen" });
    input.addEventListener("change", () => {
      const values = listOf(this.get()[name]).filter((other) => other !== value);
      if (input.checked) values.push(value);
      this.change(name, values.length > 0 ? values : undefined);
    });
    this.syncs.push((filter) => (input.checked = listOf(filter[name]).includes(value)));
    const label = element("label", { className: "option" }, input);
    if (/colou?r/i.test(name) && CSS.supports("color", value)) label.append(swatch(value));
    label.append(String(value), " ", element("span", { className: "count" }, number.format(count)));
    return label;
  }

  range({ name, minimum, maximum }) {
    const low = bound(`${readable(name)} from`, minimum);
    const high = bound(`${readable(name)} to`, maximum);
    const commit = () => {
      const bounds = {};
      if (low.value !== "") bounds.gte = Number(low.value);
      if (high.value !== "") bounds.lte = Number(high.value);
      this.change(name, Object.keys(bounds).length > 0 ? bounds : undefined);
    };
    low.addEventListener("change", commit);
    high.addEventListener("change", commit);
    this.syncs.push((filter) => {
      low.value = filter[name]?.gte ?? "";
      high.value = filter[name]?.lte ?? "";
    });
    return [element("div", { className: "range" }, low, element("span", {}, "to"), high)];
  }

  yesNo({ name, values }) {
    const counts = new Map(values);
    const choices = [["any", undefined], ["yes", true], ["no", false]].map(([label, value]) => {
      const input = element("input", { type: "radio", name: `filter-${name}`, className: "unseen" });
      input.addEventListener("change", () => this.change(name, value));
      this.syncs.push((filter) => (input.checked = filter[name] === value));
      const count = counts.has(value) ? number.format(counts.get(value)) : "";
      return element("label", { className: "option" }, input, label, " ", element("span", { className: "count" }, count));
    });
    return [element("div", { className: "options" }, ...choices)];
  }
}

function bound(label, placeholder) {
  // No grouping: a bound may be a year.
  const shown = placeholder === null ? "" : String(Number(placeholder.toFixed(2)));
  return element("input", { type: "number", step: "any", inputMode: "decimal", "aria-label": label, placeholder: shown });
}

function swatch(colour) {
  const dot = element("span", { className: "swatch" });
  dot.style.backgroundColor = colour;
  return dot;
}
