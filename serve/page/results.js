// The results of a state, fetched page by page; shows loading, retries, empty results and errors.
import { button, byId, number } from "./dom.js";
import { getItems, search } from "./api.js";
import { showItems, showLoading } from "./grid.js";
import { showFacts } from "./facts.js";
import { ownPicture } from "./picture.js";
import { remember } from "./items.js";
import { showUsedTextWeight } from "./query.js";
import { current, hasReference, isBrowsing, isComposed } from "./state.js";

const PAGE = 36;
const MOST_OFFSET = 10_000;
const SLOW_MS = 150;

const error = byId("error");
const note = byId("note");
const more = byId("more");

// Returns {items, next, total, answer}; next: start of the next page, null at the end.
async function fetchPage(state, from, options) {
  const step = current(state);
  if (isBrowsing(step)) {
    const page = await getItems({ filter: state.filter, limit: PAGE, cursor: from }, options);
    return { items: page.items, next: page.cursor, total: page.total, answer: null };
  }
  const offset = from ?? 0;
  const { texts, filter } = { ...step, ...state };
  const query = { references: referencesOf(step), unwanted: step.not, texts, textWeight: textWeightOf(step), filter };
  const answer = await search({ ...query, limit: PAGE, offset }, options);
  const next = answer.hits.length === PAGE && offset + PAGE <= MOST_OFFSET ? offset + PAGE : null;
  return { items: answer.hits, next, total: null, answer };
}

function referencesOf(step) {
  if (!hasReference(step)) return [];
  const first = { id: step.id, number: step.number, picture: ownPicture(step.picture)?.blob, text: step.own };
  return [first, ...step.also];
}

// An edited link may have a text weight without a reference or a text, which the service refuses.
const textWeightOf = (step) => (isComposed(step) ? step.textWeight : null);

export class Results {
  // links: see grid.js; clearFilters()
  constructor({ links, clearFilters }) {
    Object.assign(this, { links, clearFilters });
    this.abort = new AbortController();
    this.busy = false;
    this.answer = null;
    more.addEventListener("click", () => this.loadMore());
    this.observer = new IntersectionObserver(([entry]) => entry.isIntersecting && this.loadMore(), { rootMargin: "500px" });
  }

  // Shows a state from its first page; cancels a running request, which is for an older state.
  async show(state) {
    this.state = state;
    this.answer = null;
    this.next = null;
    this.shown = 0;
    note.hidden = true;
    more.hidden = true;
    if (this.pictureMissing()) return this.explainMissingPicture();
    showLoading();
    await this.load(false);
  }

  async loadMore() {
    if (this.busy || this.next === null) return;
    more.textContent = "Loading…";
    await this.load(true);
    more.textContent = "Show more";
  }

  async load(after) {
    this.stop();
    const { signal } = (this.abort = new AbortController());
    this.start(after);
    try {
      const page = await fetchPage(this.state, this.next, { signal, onWait: (...wait) => this.showRetry(...wait) });
      if (!signal.aborted) this.showPage(page, after);
    } catch (problem) {
      if (!signal.aborted) this.showError(problem, after);
    } finally {
      if (!signal.aborted) this.finish();
    }
  }

  start(after) {
    this.busy = true;
    error.hidden = true;
    // No progress bar for fast answers.
    this.slow = setTimeout(() => {
      byId("progress").hidden = false;
      if (!after) byId("status").textContent = "Searching …";
    }, SLOW_MS);
  }

  finish() {
    this.busy = false;
    clearTimeout(this.slow);
    byId("progress").hidden = true;
  }

  stop() {
    this.abort.abort();
    this.finish();
  }

  showPage({ items, next, total, answer }, after) {
    remember(items);
    showItems(items, this.links, after);
    this.shown += items.length;
    this.next = next;
    if (!after) this.answer = answer;
    if (!after) showFacts(answer, current(this.state));
    if (answer && !after) showUsedTextWeight(current(this.state), answer.text_weight);
    if (!after) scrollTo({ top: 0 });
    this.showCount(total);
    this.offerMore();
    if (this.shown === 0) this.explainNothing();
  }

  offerMore() {
    more.hidden = this.next === null;
    this.observer.unobserve(more);
    // Observing again reports immediately if the button is already visible.
    if (this.next !== null) setTimeout(() => this.observer.observe(more));
  }

  showCount(total) {
    const count = total ?? this.shown;
    const shown = `${number.format(count)}${total === null && this.next !== null ? "+" : ""}`;
    byId("status").textContent = total === null
      ? `${shown} ${count === 1 ? "result" : "results"}`
      : `${shown} ${count === 1 ? "item" : "items"}`;
  }

  showRetry(seconds, attempt, attempts) {
    clearTimeout(this.slow);
    byId("status").textContent =
      `The service is busy. Trying again in ${seconds} s (${attempt} of ${attempts}) …`;
  }

  explainNothing() {
    const filtered = Object.keys(this.state.filter).length > 0;
    note.replaceChildren(filtered ? "No item matches these filters." : "No results.");
    if (filtered) note.append(button("Clear the filters", this.clearFilters));
    note.hidden = false;
  }

  pictureMissing() {
    const { picture } = current(this.state);
    return picture !== null && !ownPicture(picture);
  }

  explainMissingPicture() {
    this.stop();
    error.hidden = true;
    showItems([], this.links);
    showFacts(null);
    byId("status").textContent = "";
    note.replaceChildren(
      "This search started from an uploaded picture, and a link does not contain it. ",
      "If you have the picture, choose it here to continue.",
      button("Choose the picture", () => byId("file").click()),
    );
    note.hidden = false;
  }

  showError(problem, after) {
    const message = problem.message || "Something went wrong.";
    const retry = button("Try again", () => (after ? this.loadMore() : this.show(this.state)));
    error.replaceChildren(message, retry);
    if (Object.keys(this.state.filter).length > 0 && problem.status === 422) {
      error.append(button("Clear the filters", this.clearFilters));
    }
    if (after) byId("grid").after(error);
    else byId("grid").before(error);
    if (!after) {
      showItems([], this.links);
      showFacts(null);
      byId("status").textContent = "";
    }
    error.hidden = false;
  }
}
