/** The settings panel: styles, sliders, undo, and the equivalent command line. */

import { t, textOr } from "./i18n.js";
import { DEFAULTS, KNOBS, Settings } from "./settings.js";

const SLIDERS = ["strength", ...KNOBS, "resolution"];
const NATIVE = 1088; // value of the resolution slider that means full size
const FIELD = Object.fromEntries(SLIDERS.map((name) => [name, document.getElementById(name)]));
const THUMBNAIL = 168; // pixels, square

/** @typedef {import("./engine.js").Style} Style */

export class Panel {
  /**
   * @param {Style[]} styles
   * @param {{onInput: () => void, onChange: () => void}} listeners onInput: a value is changing,
   *   possibly many times per second; onChange: it has changed
   */
  constructor(styles, { onInput, onChange }) {
    this.styles = styles;
    this.settings = new Settings(styles[0].name);
    this.onInput = onInput;
    this.onChange = onChange;
    this.thumbnails = makeStyles(document.getElementById("styles"), "style", styles, (name) => {
      this.settings.change({ style: name });
      this.finish();
    });
    for (const [name, field] of Object.entries(FIELD)) {
      field.addEventListener("input", () => {
        this.settings.change({ [name]: this.read(name) });
        this.show();
        this.onInput();
      });
      field.addEventListener("change", () => this.finish());
      field.addEventListener("dblclick", () => {
        this.settings.change({ [name]: DEFAULTS[name] });
        this.finish();
      });
    }
    this.button("undo", () => this.settings.undo());
    this.button("redo", () => this.settings.redo());
    this.button("reset", () => this.settings.reset());
    this.show();
  }

  /** The current style. @returns {Style} */
  get style() {
    return this.styles.find((style) => style.name === this.settings.values.style);
  }

  /** Return options for `Engine.cartoonize`, by default in the current style. */
  options(style = this.style) {
    const { strength, resolution } = this.settings.values;
    const knobs = KNOBS.filter((name) => style.knobs.includes(name));
    const values = Object.fromEntries(knobs.map((name) => [name, this.settings.values[name]]));
    return { style, strength, resolution, ...values };
  }

  undo() {
    document.getElementById("undo").click();
  }

  redo() {
    document.getElementById("redo").click();
  }

  /** Choose a style by name. */
  choose(name) {
    this.settings.change({ style: name });
    this.finish();
  }

  /** Return the command-line options that differ from the defaults. */
  commandOptions() {
    const { values } = this.settings;
    const words = values.style === this.styles[0].name ? [] : ["--style", quote(values.style)];
    for (const name of SLIDERS) {
      const used = !KNOBS.includes(name) || this.style.knobs.includes(name);
      if (used && values[name] !== DEFAULTS[name]) words.push(`--${name}`, values[name]);
    }
    return words;
  }

  button(id, action) {
    const button = document.getElementById(id);
    button.addEventListener("click", () => {
      if (button.ariaDisabled === "true") return;
      action();
      this.finish();
    });
  }

  finish() {
    this.settings.commit();
    this.show();
    this.onChange();
  }

  read(name) {
    const value = Number(FIELD[name].value);
    if (name !== "resolution") return value;
    if (value === NATIVE) return "native";
    return value === this.style.resolution ? null : value;
  }

  /** Update all controls to the values and the current language. */
  show() {
    const { values } = this.settings;
    for (const name of SLIDERS) {
      const field = FIELD[name];
      const value = name === "resolution" ? values[name] ?? this.style.resolution : values[name];
      field.value = value === "native" ? NATIVE : value;
      const auto = name === "resolution" && values[name] === null && this.style.detail > 0;
      const text = auto ? t("settings.resolution.auto") : describe(name, value);
      field.setAttribute("aria-valuetext", text);
      document.querySelector(`output[for="${name}"]`).textContent = text;
      field.closest(".knob").hidden = KNOBS.includes(name) && !this.style.knobs.includes(name);
      fill(field);
    }
    check("style", values.style);
    document.getElementById("style-description").textContent =
      textOr(`style.${values.style}.description`, this.style.description);
    document.getElementById("undo").ariaDisabled = String(!this.settings.canUndo);
    document.getElementById("redo").ariaDisabled = String(!this.settings.canRedo);
    document.getElementById("reset").ariaDisabled = String(this.settings.isDefault);
  }
}

/**
 * Create a radio button with a picture for each style.
 * @param {HTMLElement} fieldset
 * @param {string} name of the radio group
 * @param {Style[]} styles
 * @param {(style: string) => void} onChoose
 * @returns {Map<string, HTMLCanvasElement>} square pictures by style name
 */
export function makeStyles(fieldset, name, styles, onChoose) {
  const canvases = new Map();
  for (const style of styles) {
    const label = document.createElement("label");
    label.className = "style";
    const radio = Object.assign(document.createElement("input"), {
      type: "radio", name, value: style.name, className: "hidden",
    });
    // Not "change": a style that could not be loaded can be chosen again.
    radio.addEventListener("click", () => onChoose(style.name));
    const canvas = Object.assign(document.createElement("canvas"), {
      width: THUMBNAIL, height: THUMBNAIL,
    });
    canvas.ariaHidden = "true";
    const text = document.createElement("span");
    const rename = () => { text.textContent = styleName(style.name); };
    rename();
    document.addEventListener("language", rename);
    label.append(radio, canvas, text);
    fieldset.append(label);
    canvases.set(style.name, canvas);
  }
  return canvases;
}

/** Return the display name of a style. */
export function styleName(name) {
  return textOr(`style.${name}`, name);
}

/** Check the radio button with a value. */
export function check(name, value) {
  for (const radio of document.querySelectorAll(`input[type=radio][name="${name}"]`)) {
    radio.checked = radio.value === value;
  }
}

/** Colour a slider's track up to its thumb. */
export function fill(field) {
  const { min, max, value } = field;
  field.style.setProperty("--fill", `${(100 * (value - min)) / (max - min)}%`);
}

/** Quote a word for a shell if necessary. */
export function quote(word) {
  return /^[\w.@%+=:,/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function describe(name, value) {
  if (name === "strength") return `${Math.round(value * 100)} %`;
  if (name === "resolution") {
    return value === "native" ? t("settings.resolution.native") : `${value} px`;
  }
  return value.toFixed(1);
}
