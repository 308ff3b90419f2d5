// The state of a search, its encoding in the URL, and undo.
//
//   state: {steps, at, filter}    steps: the trail; at: index of the current step, -1 for the catalog
//   step:  {id, number, picture, own, texts, textWeight, also, not}
//          id: an item of the catalog, number: which of its pictures (0 is the main one), or picture: the name of a visitor's picture, or neither (text alone);
//          texts: the changes, oldest first; textWeight: null = the model chooses
//          also: further references, [{id, number, text}]; text and own: what only this and the first reference is for
//          not: what is not wanted, [{id, number, text}] with an id or a text
//
// It is in the URL's fragment, which browsers do not send to the service:
//   #from=D1&from=D1&number=1&text=red&weight=0.6&from=&text=a+blue+dress&at=1&filter={"colour":["red"]}
//   #from=D1&own=all+but+the+color&also=D2&number=1&own=the+color&not=&own=stripes&not=D3

const MOST_STEPS = 12;
export const MOST_TEXTS = 9;
export const MOST_REFERENCES = 4;
export const MOST_UNWANTED = 4;
const OWN_PICTURE = "not-in-this-link-";
const EMPTY_STEP = { id: null, number: 0, picture: null, own: "", texts: [], textWeight: null, also: [], not: [] };

export const start = () => ({ steps: [], at: -1, filter: {} });
export const current = (state) => state.steps[state.at] ?? EMPTY_STEP;
export const hasReference = (step) => step.id !== null || step.picture !== null;
export const ownTexts = (step) => [step.own, ...step.also.map(({ text }) => text)].filter((text) => text !== "");
export const isComposed = (step) => hasReference(step) && step.texts.length + ownTexts(step).length > 0;
export const isBrowsing = (step) => !hasReference(step) && step.texts.length === 0;

// Adds a step after the current one and drops later ones, as in a browser's history.
export function withStep(state, step) {
  const steps = [...state.steps.slice(0, state.at + 1), { ...EMPTY_STEP, ...step }].slice(-MOST_STEPS);
  return { ...state, steps, at: steps.length - 1 };
}

// Changes the current step, without a new step.
export function withChange(state, change) {
  const steps = state.steps.with(state.at, { ...current(state), ...change });
  return { ...state, steps };
}

// Removes the first reference; the next one takes its place.
export function withoutFirst(step) {
  const [{ id = null, number = 0, text = "" } = {}, ...also] = step.also;
  return { ...step, id, number, picture: null, own: also.length > 0 ? text : "", also };
}

export function format(state) {
  const query = new URLSearchParams();
  for (const step of state.steps) {
    query.append("from", step.picture === null ? (step.id ?? "") : "");
    if (step.number > 0) query.append("number", step.number);
    if (step.picture !== null) query.append("picture", OWN_PICTURE + step.picture);
    if (step.own !== "") query.append("own", step.own);
    for (const text of step.texts) query.append("text", text);
    if (step.textWeight !== null) query.append("weight", step.textWeight);
    for (const reference of step.also) appendPart(query, "also", reference);
    for (const unwanted of step.not) appendPart(query, "not", unwanted);
  }
  if (state.steps.length > 0 && state.at !== state.steps.length - 1) query.append("at", state.at);
  if (Object.keys(state.filter).length > 0) query.append("filter", JSON.stringify(state.filter));
  return query.toString();
}

function appendPart(query, name, { id, number, text }) {
  query.append(name, id ?? "");
  if (number > 0) query.append("number", number);
  if (text !== "") query.append("own", text);
}

// Links may be edited or cut off: invalid parts are ignored.
export function parse(fragment) {
  const steps = [];
  // The step, further reference or unwanted thing that a number or an own text belongs to.
  let part = {};
  let at = null;
  let filter = {};
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    const step = steps.at(-1);
    if (name === "from") {
      part = { ...EMPTY_STEP, id: value || null, texts: [], also: [], not: [] };
      steps.push(part);
    } else if (["also", "not"].includes(name) && step) {
      part = { id: value || null, number: 0, own: "" };
      step[name].push(part);
    } else if (name === "own") part.own = value.trim();
    else if (name === "picture" && step) step.picture = value.replace(OWN_PICTURE, "");
    else if (name === "number") part.number = /^\d{1,4}$/.test(value) ? Number(value) : 0;
    else if (name === "text" && step && value.trim()) step.texts.push(value);
    else if (name === "weight" && step) step.textWeight = textWeightOf(value);
    else if (name === "at") at = Number.parseInt(value, 10);
    else if (name === "filter") filter = filterOf(value);
  }
  for (const step of steps) {
    step.also = step.also.filter(({ id }) => id !== null).map(asPart).slice(0, MOST_REFERENCES - 1);
    step.not = step.not.map(asPart).filter(({ id, text }) => (id === null) !== (text === "")).slice(0, MOST_UNWANTED);
    if (!hasReference(step)) step.also = [];
    if (step.also.length === 0) step.own = "";
  }
  const last = steps.length - 1;
  return { steps, at: at >= -1 && at <= last && at !== null ? at : last, filter };
}

const asPart = ({ id, number, own }) => ({ id, number, text: own });

function textWeightOf(text) {
  const textWeight = Number.parseFloat(text);
  return textWeight >= 0 && textWeight <= 1 ? textWeight : null;
}

function filterOf(text) {
  try {
    const filter = JSON.parse(text);
    return filter && typeof filter === "object" && !Array.isArray(filter) ? filter : {};
  } catch {
    return {};
  }
}

export function urlOf(state) {
  const fragment = format(state);
  return location.pathname + location.search + (fragment ? `#${fragment}` : "");
}

// Keeps the state in the browser's history: back and forward are undo and redo.
export class Store {
  constructor(onChange) {
    this.onChange = onChange;
    this.state = parse(location.hash);
    history.scrollRestoration = "manual";
    window.addEventListener("popstate", () => {
      this.state = parse(location.hash);
      onChange();
    });
  }

  // Number of history entries that this page has added.
  get depth() {
    return history.state?.depth ?? 0;
  }

  go(state) {
    if (format(state) === format(this.state)) return;
    history.pushState({ depth: this.depth + 1 }, "", urlOf(state));
    this.state = state;
    this.onChange();
  }

  get canUndo() {
    return this.depth > 0 || this.state.at >= 0;
  }

  undo() {
    if (this.depth > 0) {
      history.back();
    } else if (this.canUndo) {
      // A link was opened: there is no history, but the trail has earlier steps.
      this.state = { ...this.state, at: this.state.at - 1 };
      history.replaceState(null, "", urlOf(this.state));
      this.onChange();
    }
  }
}
