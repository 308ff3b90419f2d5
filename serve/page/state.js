// The state of a search, its form in the URL, and undo.
//
//   state: {steps, at, filter}    steps: the trail; at: the step that is shown, -1 for the plain catalog
//   step:  {id, picture, texts, weight}
//          id: an item of the catalog, or picture: the name of an own picture, or neither (text alone);
//          texts: the changes, oldest first; weight: the text's share, null where the Combiner decides
//
// The URL keeps it in the fragment, which never reaches the service's log and has no limit of length there:
//   #from=D1&from=D1&text=red&weight=0.6&from=&text=a+blue+dress&at=1&filter={"colour":["red"]}

const MOST_STEPS = 12;
export const MOST_TEXTS = 9;
const OWN_PICTURE = "not-in-this-link-";
const EMPTY_STEP = { id: null, picture: null, texts: [], weight: null };

export const start = () => ({ steps: [], at: -1, filter: {} });
export const current = (state) => state.steps[state.at] ?? EMPTY_STEP;
export const hasReference = (step) => step.id !== null || step.picture !== null;
export const isComposed = (step) => hasReference(step) && step.texts.length > 0;
export const isBrowsing = (step) => !hasReference(step) && step.texts.length === 0;

// A new step after the shown one; what came after that one is left, as in a browser's history.
export function withStep(state, step) {
  const steps = [...state.steps.slice(0, state.at + 1), { ...EMPTY_STEP, ...step }].slice(-MOST_STEPS);
  return { ...state, steps, at: steps.length - 1 };
}

// The shown step with another weight: the same step of the trail.
export function withWeight(state, weight) {
  const steps = state.steps.with(state.at, { ...current(state), weight });
  return { ...state, steps };
}

export function format(state) {
  const query = new URLSearchParams();
  for (const step of state.steps) {
    query.append("from", step.picture === null ? (step.id ?? "") : "");
    if (step.picture !== null) query.append("picture", OWN_PICTURE + step.picture);
    for (const text of step.texts) query.append("text", text);
    if (step.weight !== null) query.append("weight", step.weight);
  }
  if (state.steps.length > 0 && state.at !== state.steps.length - 1) query.append("at", state.at);
  if (Object.keys(state.filter).length > 0) query.append("filter", JSON.stringify(state.filter));
  return query.toString();
}

// Links are edited and cut by people: what cannot be understood is left out.
export function parse(fragment) {
  const steps = [];
  let at = null;
  let filter = {};
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    const step = steps.at(-1);
    if (name === "from") steps.push({ ...EMPTY_STEP, id: value || null, texts: [] });
    else if (name === "picture" && step) step.picture = value.replace(OWN_PICTURE, "");
    else if (name === "text" && step && value.trim()) step.texts.push(value);
    else if (name === "weight" && step) step.weight = shareOf(value);
    else if (name === "at") at = Number.parseInt(value, 10);
    else if (name === "filter") filter = filterOf(value);
  }
  const last = steps.length - 1;
  return { steps, at: at >= -1 && at <= last && at !== null ? at : last, filter };
}

function shareOf(text) {
  const share = Number.parseFloat(text);
  return share >= 0 && share <= 1 ? share : null;
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

// Keeps the state in the browser's history, so that its back and forward buttons undo and redo.
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

  // How many entries of the history are this page's own.
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
      // A link was opened in the middle of its trail: there is no history, but there are earlier steps.
      this.state = { ...this.state, at: this.state.at - 1 };
      history.replaceState(null, "", urlOf(this.state));
      this.onChange();
    }
  }
}
