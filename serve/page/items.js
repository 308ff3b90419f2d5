// What the page knows about items: those that it has shown are not fetched again.
import { getItem } from "./api.js";

export const known = new Map();

export function remember(items) {
  for (const item of items) known.set(item.id, item);
}

export const nameOf = (item) => item.title || `item ${item.id}`;

// After a link was opened. Null if there is no such item: the search itself reports it.
export async function fetchOnce(id) {
  if (known.has(id)) return known.get(id);
  const item = await getItem(id).catch(() => null);
  if (item) remember([item]);
  return item;
}
