/** A photo and its cartoon in one frame, with a draggable divider. */

import { t } from "./i18n.js";

const LARGEST = 2400; // pixels; long side of what is shown, not of downloads

export class Compare {
  /**
   * @param {HTMLElement} root contains canvas.photo, canvas.cartoon, .divider and a range input for
   *   keyboards and screen readers
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

  /** Move the divider to the value of the input, the share of the photo in percent. */
  place() {
    const percent = Number(this.input.value);
    this.root.style.setProperty("--split", `${percent}%`);
    this.input.setAttribute("aria-valuetext", t("compare.value", { percent }));
  }

  /**
   * Show a photo without a cartoon.
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
    this.hideCartoon();
    paint(this.photo, picture);
  }

  /**
   * Show a cartoon of the photo, of any size.
   * @param {ImageData|ImageBitmap} image
   * @param {() => boolean} [wanted] checked again before it is shown
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

  /** Show the photo alone. */
  hideCartoon() {
    this.root.classList.remove("drawn");
  }

  grab(event) {
    if (event.button !== 0) return;
    this.root.setPointerCapture(event.pointerId);
    this.move(event);
    this.input.focus({ preventScroll: true, focusVisible: false });
    event.preventDefault(); // do not select text or move the focus
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

/** Draw a picture to fill a canvas. */
function paint(canvas, picture) {
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
}
