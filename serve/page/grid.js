// The grid of pictures: cards, skeletons, and the arrow keys.
import { sized } from "./api.js";
import { byId, element, onPlainClick } from "./dom.js";
import { nameOf } from "./items.js";

const SKELETONS = 24;
// A picture is cropped to its tile if that hides at most this fraction of it; else it is shown whole.
const MOST_CROPPED = 0.22;

const grid = byId("grid");

// The text below a picture: the title, else some attributes, else the id.
export function captionOf(item) {
  const attributes = Object.values(item.attributes ?? {}).filter((value) => typeof value === "string");
  return item.title || attributes.slice(0, 4).join(" · ") || item.id;
}

function fit(image) {
  const tile = image.width / image.height;
  const picture = image.naturalWidth / image.naturalHeight;
  const lost = 1 - Math.min(tile / picture, picture / tile);
  image.classList.toggle("whole", lost > MOST_CROPPED);
  image.classList.add("shown");
}

function imageOf(item, eager) {
  const image = element("img", {
    alt: nameOf(item),
    width: 250,
    height: 300,
    loading: eager ? "eager" : "lazy",
    decoding: "async",
    draggable: false,
    sizes: "(max-width: 640px) 45vw, 220px",
  });
  image.addEventListener("load", () => fit(image));
  setSource(image, item.image);
  return image;
}

function setSource(image, path) {
  image.srcset = `${sized(path, 256)} 256w, ${sized(path, 512)} 512w`;
  image.src = sized(path, 256);
}

// Shows the next picture of the item; that picture becomes the reference if the card is picked.
function nextPicture(item, link, image, href) {
  const count = item.images.length;
  const next = element("button", { type: "button", className: "next-picture", tabIndex: -1 });
  next.dataset.testid = "next-picture";
  const label = (number) => {
    next.textContent = `${number + 1}/${count} ›`;
    next.setAttribute("aria-label", `${nameOf(item)}: picture ${number + 1} of ${count}, show the next`);
  };
  next.addEventListener("click", () => {
    const number = (Number(link.dataset.number) + 1) % count;
    link.dataset.number = number;
    link.href = href(item, number);
    setSource(image, item.images[number]);
    label(number);
  });
  label(Number(link.dataset.number));
  return next;
}

// Adds the item to the query, as it is shown: {label, sign, testid, act(item, number)}.
function addition(item, link, { label, sign, testid, act }) {
  const text = element("span", {}, label);
  const add = element("button", { type: "button", tabIndex: -1, title: label }, `${sign} `, text);
  add.setAttribute("aria-label", `${label}: ${nameOf(item)}`);
  add.dataset.testid = testid;
  add.addEventListener("click", () => act(item, Number(link.dataset.number)));
  return add;
}

function card(item, index, { href, pick, additions }) {
  const number = item.image_number ?? 0;
  const image = imageOf(item, index < 8);
  const picture = element("span", { className: "tile" }, image);
  if (item.score !== undefined) {
    const score = item.score.toFixed(2);
    picture.append(element("span", { className: "score", title: "similarity to the query" }, score));
  }
  const link = element("a", { className: "card", href: href(item, number), draggable: false, tabIndex: -1 });
  link.dataset.testid = "item";
  link.dataset.id = item.id;
  link.dataset.number = number;
  link.append(picture, element("span", { className: "caption", "aria-hidden": "true" }, captionOf(item)));
  onPlainClick(link, () => pick(item, Number(link.dataset.number)));
  const added = element("div", { className: "additions" }, ...additions().map((each) => addition(item, link, each)));
  return element("li", {}, link, added, ...(item.images?.length > 1 ? [nextPicture(item, link, image, href)] : []));
}

// Shows items, replacing the earlier ones or after them.
// links: {href(item, number), pick(item, number), additions()}, the last a list: see addition
export function showItems(items, links, after = false) {
  const first = after ? grid.childElementCount : 0;
  const cards = items.map((item, index) => card(item, first + index, links));
  if (after) grid.append(...cards);
  else grid.replaceChildren(...cards);
  grid.classList.remove("loading");
  grid.setAttribute("aria-busy", "false");
  // The grid is one tab stop; the arrow keys move inside it.
  if (!grid.querySelector("a[tabindex='0']")) openToTab(grid.querySelector("li"));
}

// Old results stay, dimmed, while new ones load; without old results, placeholders are shown.
export function showLoading() {
  grid.setAttribute("aria-busy", "true");
  if (grid.querySelector("a")) {
    grid.classList.add("loading");
  } else {
    const skeleton = () => element("li", { className: "skeleton", "aria-hidden": "true" }, element("span"), element("span"));
    grid.replaceChildren(...Array.from({ length: SKELETONS }, skeleton));
  }
}

export function focusFirst() {
  grid.querySelector("a")?.focus();
}

function columns() {
  return getComputedStyle(grid).gridTemplateColumns.split(" ").length;
}

grid.addEventListener("keydown", (event) => {
  const links = [...grid.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  const targets = {
    ArrowRight: at + 1,
    ArrowLeft: at - 1,
    ArrowDown: at + columns(),
    ArrowUp: at - columns(),
    Home: 0,
    End: links.length - 1,
  };
  if (at < 0 || !(event.key in targets) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  links[targets[event.key]]?.focus();
});

grid.addEventListener("focusin", (event) => {
  openToTab(event.target.closest("li"));
});

// The tab key reaches one card and its buttons.
function openToTab(entry) {
  for (const node of grid.querySelectorAll("[tabindex='0']")) node.tabIndex = -1;
  for (const node of entry?.querySelectorAll("a, .additions button, .next-picture") ?? []) node.tabIndex = 0;
}
