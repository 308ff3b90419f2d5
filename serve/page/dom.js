// Helpers for the DOM. Text from the service only becomes text nodes, never HTML.

export const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function button(label, onClick, className = "secondary") {
  const node = element("button", { type: "button", className }, label);
  node.addEventListener("click", onClick);
  return node;
}

// Handles plain clicks; with a modifier key the browser opens the link in a new tab as usual.
export function onPlainClick(link, action) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    action();
  });
}

export const isTextField = (node) =>
  node instanceof HTMLTextAreaElement ||
  (node instanceof HTMLInputElement && !["checkbox", "radio", "range", "file"].includes(node.type));

let toastTimer;
export function toast(text) {
  const node = byId("toast");
  node.textContent = text;
  node.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (node.hidden = true), 4000);
}

// The page is in English, so its numbers are too.
export const number = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
