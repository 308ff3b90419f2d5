// Requests to /v1: sends the API key, reads problems, retries while the service is busy.
import { askForKey, currentKey } from "./key.js";

const RETRIES = 3;
const LONGEST_WAIT = 30;

// An error with a message for the visitor.
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function send(path, options) {
  const headers = new Headers(options.headers);
  if (currentKey() !== null) headers.set("X-API-Key", currentKey());
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The service cannot be reached. Check your network connection.");
  }
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  return new Problem(response.status, body.detail || body.title || `The service answered ${response.status}.`);
}

// Retry-After is seconds or a date; without it the wait doubles each time.
function secondsToWait(response, attempt) {
  const header = response.headers.get("Retry-After");
  const seconds = Number(header ?? 2 ** attempt);
  const wait = Number.isNaN(seconds) ? (Date.parse(header) - Date.now()) / 1000 : seconds;
  return Math.min(LONGEST_WAIT, Math.max(1, Math.ceil(wait) || 1));
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    setTimeout(resolve, seconds * 1000);
  });
}

async function request(path, { onWait, ...options } = {}) {
  let attempt = 0;
  for (;;) {
    const key = currentKey();
    const response = await send(path, options);
    if (response.ok) return response.json();
    const problem = await problemOf(response);
    if (response.status === 401) {
      // Another request may have asked for a key meanwhile: then try that key first.
      if (key === currentKey() && !(await askForKey())) throw problem;
      options.signal?.throwIfAborted();
    } else if ([429, 503].includes(response.status) && attempt < RETRIES) {
      attempt += 1;
      const seconds = secondsToWait(response, attempt);
      onWait?.(seconds, attempt, RETRIES);
      await pause(seconds, options.signal);
    } else {
      throw problem;
    }
  }
}

const itemPath = (id) => `/v1/items/${encodeURIComponent(id)}`;
const json = (body) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

export const thumbnail = (id, size, number = 0) => sized(`${itemPath(id)}/image${number ? `?number=${number}` : ""}`, size);
// Adds the size to the path of a thumbnail, which may have a query string.
export const sized = (path, size) => `${path}${path.includes("?") ? "&" : "?"}size=${size}`;

export const getModel = (options) => request("/v1/model", options);
export const getItem = (id, options) => request(itemPath(id), options);

export function getItems({ filter, limit, cursor }, options) {
  const query = new URLSearchParams({ limit });
  if (cursor) query.set("cursor", cursor);
  if (Object.keys(filter).length > 0) query.set("filter", JSON.stringify(filter));
  return request(`/v1/items?${query}`, options);
}

// query: {references, unwanted, texts, textWeight, filter, limit, offset}
//   references, unwanted: [{id, number, text}]; the first reference may have a picture (a Blob) instead of an id
export function search({ references, unwanted, texts, textWeight, filter, limit, offset }, options) {
  const [text, ...refinements] = texts;
  const body = { references: references.map(partOf), not: unwanted.map(partOf), filter, limit, offset };
  if (text !== undefined) Object.assign(body, { text, refinements });
  if (textWeight !== null) body.text_weight = textWeight;
  const picture = references[0]?.picture;
  if (picture) return request("/v1/search", { method: "POST", body: formOf(body, picture), ...options });
  return request("/v1/search", { ...json(body), ...options });
}

function partOf({ id, number, text }) {
  const part = {};
  if (id !== null) part.id = id;
  if (number > 0) part.image_number = number;
  if (text !== "") part.text = text;
  return part;
}

function formOf(body, picture) {
  const form = new FormData();
  form.set("references[0].image", picture, "reference");
  for (const [name, value] of Object.entries(body)) {
    form.set(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return form;
}

// Feedback is sent in the background; errors are ignored.
export function sendFeedback(feedback) {
  send("/v1/feedback", { ...json(feedback), keepalive: true }).catch(() => {});
}
