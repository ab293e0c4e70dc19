// Elements, numbers, scales and axes.

const NS = "http://www.w3.org/2000/svg";

function put(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

const html = (name, attributes, ...children) => put(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => put(document.createElementNS(NS, name), attributes, children);

function number(value, digits = 6) {
  if (value === null || value === undefined) return "-";
  return value.toLocaleString("en-US", { maximumSignificantDigits: Math.max(digits, 1) });
}

// A scale knows where a value stands (px), and the values at which it has ticks.
function linear(low, high, from, to, wanted) {
  const rough = (high - low || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough) * power;
  const ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high * (1 + 1e-9); at += 1) ticks.push(Number((at * step).toPrecision(12)));
  const scale = (value) => from + ((value - low) / (high - low || 1)) * (to - from);
  return Object.assign(scale, { ticks });
}

function logarithmic(low, high, from, to, wanted, base = 2) {
  const first = Math.floor(Math.log(low) / Math.log(base) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log(high) / Math.log(base) - 1e-9));
  const every = Math.max(1, Math.ceil((last - first) / wanted));
  const ticks = [];
  for (let power = first; power <= last; power += every) ticks.push(base ** power);
  const scale = (value) => from + ((Math.log(value) / Math.log(base) - first) / (last - first)) * (to - from);
  return Object.assign(scale, { ticks });
}

// Axes with grid lines; the title of the upright axis stands above it, where it is read without turning the head.
function axes(parent, box, x, y, titles, told = number) {
  for (const tick of y.ticks) {
    parent.append(
      svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: box.left - 8, y: y(tick) + 4, "text-anchor": "end" }, told(tick)),
    );
  }
  for (const tick of x.ticks) {
    parent.append(
      svg("line", { class: "axis", x1: x(tick), x2: x(tick), y1: box.bottom, y2: box.bottom + 4 }),
      svg("text", { x: x(tick), y: box.bottom + 18, "text-anchor": "middle" }, number(tick)),
    );
  }
  parent.append(
    svg("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    svg("text", { class: "title", x: box.right, y: box.bottom + 36, "text-anchor": "end" }, titles.x),
    svg("text", { class: "title", x: 2, y: 13 }, titles.y),
  );
}

const widthOf = (node) => Math.max(260, Math.floor(node.clientWidth));

function margin(ticks) {
  return 14 + 7 * Math.max(...ticks.map((tick) => number(tick).length));
}

// A marker whose shape tells the mode apart without its colour.
function marker(mode, x, y, size) {
  const of = { class: `mark f-${mode}` };
  if (mode === "colocated") return svg("rect", { ...of, x: x - size, y: y - size, width: 2 * size, height: 2 * size });
  if (mode === "hybrid") return svg("path", { ...of, d: `M${x} ${y - 1.3 * size}l${1.3 * size} ${2.3 * size}h${-2.6 * size}z` });
  if (mode === "mixed") return svg("path", { ...of, d: `M${x} ${y - 1.4 * size}l${1.4 * size} ${1.4 * size}l${-1.4 * size} ${1.4 * size}l${-1.4 * size} ${-1.4 * size}z` });
  return svg("circle", { ...of, cx: x, cy: y, r: 1.1 * size });
}
