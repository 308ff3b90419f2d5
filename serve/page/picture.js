// The visitor's pictures: chosen, dropped or pasted, scaled down before upload, kept until the page is closed.
import { byId } from "./dom.js";

const LONGEST_SIDE = 1024;
const QUALITY = 0.9;
const SENT_UNCHANGED = ["image/jpeg", "image/png", "image/webp"];

const kept = new Map();

export const ownPicture = (name) => kept.get(name);

// Keeps a picture under a random name, so that an old link never finds a newer picture.
export function keepPicture(blob, title, name = Math.random().toString(36).slice(2, 10)) {
  kept.set(name, { blob, title, url: URL.createObjectURL(blob) });
  return name;
}

// A photo has many more pixels than the encoder uses.
export async function makeSmall(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && SENT_UNCHANGED.includes(file.type)) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  // JPEG has no transparency: without this, transparent areas would become black.
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}

const firstPicture = (files) => [...files].find((file) => file.type.startsWith("image/") || file.type === "");

// Calls take(file) for each picture that the visitor chooses, drops or pastes.
export function watchPictures(take) {
  const input = byId("file");
  input.addEventListener("change", () => {
    if (input.files.length > 0) take(input.files[0]);
    input.value = "";
  });
  byId("choose").addEventListener("click", () => input.click());
  window.addEventListener("paste", (event) => {
    const file = firstPicture(event.clipboardData?.files ?? []);
    if (!file) return;
    event.preventDefault();
    take(file);
  });
  watchDrops(take);
}

function watchDrops(take) {
  const overlay = byId("drop");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    overlay.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) overlay.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    overlay.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    const file = firstPicture(event.dataTransfer.files);
    if (file) take(file);
  });
}
