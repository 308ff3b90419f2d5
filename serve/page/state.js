// The state of a search, its encoding in the URL, and undo.
//
//   state: {steps, at, filter}    steps: the trail; at: index of the current step, -1 for the catalog
//   step:  {id, number, picture, texts, textWeight}
//          id: an item of the catalog, number: which of its pictures (0 is the main one), or picture: the name of a visitor's picture, or neither (text alone);
//          texts: the changes, oldest first; textWeight: null = the model chooses
//
// It is in the URL's fragment, which browsers do not send to the service:
//   #from=D1&from=D1&number=1&text=red&weight=0.6&from=&text=a+blue+dress&at=1&filter={"colour":["red"]}

const MOST_STEPS = 12;
export const MOST_TEXTS = 9;
const OWN_PICTURE = "not-in-this-link-";
const EMPTY_STEP = { id: null, number: 0, picture: null, texts: [], textWeight: null };

export const start = () => ({ steps: [], at: -1, filter: {} });
export const current = (state) => state.steps[state.at] ?? EMPTY_STEP;
export const hasReference = (step) => step.id !== null || step.picture !== null;
export const isComposed = (step) => hasReference(step) && step.texts.length > 0;
export const isBrowsing = (step) => !hasReference(step) && step.texts.length === 0;

// Adds a step after the current one and drops later ones, as in a browser's history.
export function withStep(state, step) {
  const steps = [...state.steps.slice(0, state.at + 1), { ...EMPTY_STEP, ...step }].slice(-MOST_STEPS);
  return { ...state, steps, at: steps.length - 1 };
}

// Changes which picture of the reference item is the reference, without a new step.
export function withNumber(state, number) {
  const steps = state.steps.with(state.at, { ...current(state), number });
  return { ...state, steps };
}

// Changes the text weight of the current step, without a new step.
export function withTextWeight(state, textWeight) {
  const steps = state.steps.with(state.at, { ...current(state), textWeight });
  return { ...state, steps };
}

export function format(state) {
  const query = new URLSearchParams();
  for (const step of state.steps) {
    query.append("from", step.picture === null ? (step.id ?? "") : "");
    if (step.number > 0) query.append("number", step.number);
    if (step.picture !== null) query.append("picture", OWN_PICTURE + step.picture);
    for (const text of step.texts) query.append("text", text);
    if (step.textWeight !== null) query.append("weight", step.textWeight);
  }
  if (state.steps.length > 0 && state.at !== state.steps.length - 1) query.append("at", state.at);
  if (Object.keys(state.filter).length > 0) query.append("filter", JSON.stringify(state.filter));
  return query.toString();
}

// Links may be edited or cut off: invalid parts are ignored.
export function parse(fragment) {
  const steps = [];
  let at = null;
  let filter = {};
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    const step = steps.at(-1);
    if (name === "from") steps.push({ ...EMPTY_STEP, id: value || null, texts: [] });
    else if (name === "picture" && step) step.picture = value.replace(OWN_PICTURE, "");
    else if (name === "number" && step) step.number = /^\d{1,4}$/.test(value) ? Number(value) : 0;
    else if (name === "text" && step && value.trim()) step.texts.push(value);
    else if (name === "weight" && step) step.textWeight = textWeightOf(value);
    else if (name === "at") at = Number.parseInt(value, 10);
    else if (name === "filter") filter = filterOf(value);
  }
  const last = steps.length - 1;
  return { steps, at: at >= -1 && at <= last && at !== null ? at : last, filter };
}

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
