/** A photo and its cartoon in one frame, with a divider between them to drag. */

import { t } from "./i18n.js";

const LARGEST = 2400; // pixels: long side of what is shown; the download has all of them

export class Compare {
  /**
   * @param {HTMLElement} root holds canvas.photo, canvas.cartoon, .divider and a range input, which
   *   the keyboard and screen readers use
   */
  constructor(root) {
    this.root = root;
    this.photo = root.querySelector("canvas.photo");
    this.cartoon = root.querySelector("canvas.cartoon");
    this.input = root.querySelector("input[type=range]");
    this.input.addEventListener("input", () => this.place());
    root.addEventListener("pointerdown", (event) => this.grab(event));
    root.addEventListener("pointermove", (event) => this.drag(event));
    document.addEventListener("language", () => this.place());
    this.place();
  }

  /** Put the divider where the input says: percent of the width that shows the photo. */
  place() {
    const percent = Number(this.input.value);
    this.root.style.setProperty("--split", `${percent}%`);
    this.input.setAttribute("aria-valuetext", t("compare.value", { percent }));
  }

  /**
   * Show a photo, and nothing of a cartoon yet.
   * @param {ImageBitmap|HTMLCanvasElement} picture
   */
  showPhoto(picture) {
    const { width, height } = picture;
    const scale = Math.min(1, LARGEST / Math.max(width, height));
    for (const canvas of [this.photo, this.cartoon]) {
      canvas.width = Math.max(1, Math.round(width * scale));
      canvas.height = Math.max(1, Math.round(height * scale));
    }
    this.root.style.setProperty("--ratio", width / height);
    this.root.style.setProperty("--natural", `${width}px`);
    this.root.classList.remove("drawn");
    paint(this.photo, picture);
  }

  /**
   * Show a cartoon of the photo, of any size.
   * @param {ImageData|ImageBitmap} image
   * @param {() => boolean} [wanted] asked again before it is shown
   * @returns {Promise<boolean>} whether it was shown
   */
  async showCartoon(image, wanted = () => true) {
    const { width, height } = this.cartoon;
    const reduce = image.width > width
      ? { resizeWidth: width, resizeHeight: height, resizeQuality: "high" } : {};
    const bitmap = await createImageBitmap(image, reduce);
    const show = wanted();
    if (show) {
      paint(this.cartoon, bitmap);
      this.root.classList.add("drawn");
    }
    bitmap.close();
    return show;
  }

  grab(event) {
    if (event.button !== 0) return;
    this.root.setPointerCapture(event.pointerId);
    this.move(event);
    this.input.focus({ preventScroll: true, focusVisible: false });
    event.preventDefault(); // no text is selected, and the focus stays
  }

  drag(event) {
    if (this.root.hasPointerCapture(event.pointerId)) this.move(event);
  }

  move(event) {
    const box = this.root.getBoundingClientRect();
    this.input.value = Math.round(((event.clientX - box.left) / box.width) * 100);
    this.place();
  }
}

/** Fill a canvas with a picture. */
function paint(canvas, picture) {
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
}
