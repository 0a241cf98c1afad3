// Small charts, drawn by hand as SVG: figures over time, in layers on each other, or as bars. Called by server.js.

import { clock, h, number, write } from "./dom.js";
import { words } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [240, 72];

/** A figure with its name, what it is now, and its past. */
export class Chart {
  #name;
  #bars;
  #now = h("output");
  #most = h("span", { class: "most muted" });
  #span = h("figcaption", { class: "muted small" });
  #svg = document.createElementNS(SVG, "svg");
  #title;

  constructor(name, { bars = false, legend } = {}) {
    this.#name = name;
    this.#bars = bars;
    this.#svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.#svg.setAttribute("preserveAspectRatio", "none");
    this.#svg.setAttribute("role", "img");
    this.#title = h("h3", {}, name);
    this.element = h("figure", { class: "chart" }, h("div", { class: "bar" }, this.#title, this.#now), h("div", { class: "plot" }, this.#svg, this.#most), legend, this.#span);
  }

  rename(name) {
    this.#name = name;
    write(this.#title, name);
  }

  /** Instead of figures: why there are none. */
  says(text) {
    write(this.#now, words.none);
    this.#svg.replaceChildren();
    this.#svg.setAttribute("aria-label", `${this.#name}: ${text}`);
    write(this.#most, "");
    write(this.#span, text);
  }

  /** `layers`: [{ kind, points: [[at, value], …] }], with the same times in each. */
  show(layers, now) {
    const times = layers[0].points.map(([at]) => at);
    if (times.length < (this.#bars ? 1 : 2)) {
      this.says(words.server.noneYet);
      return write(this.#now, number(now));
    }
    const sums = times.map((_, index) => layers.reduce((sum, { points }) => sum + points[index][1], 0));
    const [from, to, most] = [times[0], times.at(-1), Math.max(1, ...sums)];
    const x = (at) => ((at - from) / (to - from)) * WIDTH;
    const y = (value) => HEIGHT - (value / most) * (HEIGHT - 2);
    this.#svg.replaceChildren(...(this.#bars ? bars(layers[0].points, y) : areas(layers, x, y)));
    write(this.#now, number(now));
    write(this.#most, Math.max(...sums) ? number(most) : "");
    write(this.#span, words.server.span(clock(from), clock(to)));
    this.#svg.setAttribute("aria-label", words.server.summary(this.#name, number(now), number(Math.min(...sums)), number(Math.max(...sums))));
  }
}

/** From the ground up; each layer stands on the one before. */
function areas(layers, x, y) {
  let ground = layers[0].points.map(() => 0);
  return layers.map(({ kind, points }) => {
    const top = points.map(([, value], index) => ground[index] + value);
    const at = (index, value) => `${x(points[index][0]).toFixed(1)},${y(value).toFixed(1)}`;
    const up = top.map((value, index) => at(index, value));
    const down = ground.map((value, index) => at(index, value)).reverse();
    ground = top;
    return shape("polygon", { points: [...up, ...down].join(" "), "data-status": kind });
  });
}

function bars(points, y) {
  const width = WIDTH / points.length;
  return points.map(([, value], index) =>
    shape("rect", { x: index * width, y: y(value), width: width * 0.8, height: HEIGHT - y(value) }));
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) if (value !== undefined) element.setAttribute(attribute, value);
  return element;
}
