// The API key: entered in a dialog, stored until the tab is closed.
import { byId } from "./dom.js";

const STORED = "cirray_key";
let asking = null;

export const currentKey = () => sessionStorage.getItem(STORED);

// <img> cannot send a header, so the service also accepts the key as a cookie.
function setCookie(key) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${STORED}=${key}; SameSite=Strict; path=/${secure}`;
}

function keep(key) {
  sessionStorage.setItem(STORED, key);
  setCookie(key);
}

// Resolves to whether a key was entered. Concurrent requests share one dialog.
export function askForKey() {
  asking ??= openDialog(currentKey() !== null).finally(() => (asking = null));
  return asking;
}

function openDialog(refused) {
  const dialog = byId("key-dialog");
  const input = byId("key-input");
  byId("key-hint").textContent = refused
    ? "This key was not accepted. Check it and enter it again."
    : "Enter your API key. It is stored until you close this tab.";
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    let entered = false;
    byId("key-form").onsubmit = () => {
      entered = true;
      keep(input.value);
    };
    byId("key-cancel").onclick = () => dialog.close();
    dialog.onclose = () => resolve(entered);
  });
}

if (currentKey() !== null) setCookie(currentKey());
