// What the page shows: the points, which one is pinned, and words for them.

const page = JSON.parse(document.getElementById("payload").textContent);
const followers = [];
const state = { pinned: page.chosen, hidden: new Set() };
const ROLE = { prefill: "prefill", decode: "decode", colocated: "co-located" };
const MODE = { colocated: "co-located", disaggregated: "disaggregated", hybrid: "hybrid", mixed: "mixed", none: "not served" };

function pin(index) {
  state.pinned = index;
  for (const follow of followers) follow();
}

// Something that is drawn now, when another point is pinned, and when there is another width to draw in.
function follow(node, draw) {
  if (!node) return;
  let width = 0;
  followers.push(draw);
  new ResizeObserver(() => {
    if (node.clientWidth && node.clientWidth !== width) {
      width = node.clientWidth;
      draw();
    }
  }).observe(node);
}

function modeOf(point) {
  const served = new Set(point.modes.filter((mode) => mode !== "none"));
  return served.size === 1 ? [...served][0] : "mixed";
}

function partitionOf(engine) {
  return engine.partition + (engine.chunk ? `, chunk ${engine.chunk}` : "");
}

function heightText(point) {
  return page.least ? `${number(point.y)} ${page.yLabel}` : `${number(point.y)} tokens/s/GPU`;
}

function userText(point) {
  return point.user === null ? "one output token" : `${number(point.user)} tokens/s/user`;
}

function usesText(point) {
  return point.uses.map(([index, batch, replicas]) => {
    const engine = page.engines[index];
    return `${number(replicas)} × ${ROLE[engine.role]} ${partitionOf(engine)} batch ${batch}`;
  }).join("; ");
}

function sentence(point) {
  return `${userText(point)}, ${heightText(point)}, ${MODE[modeOf(point)]}: ${usesText(point)}; ${number(point.gpus)} GPUs`;
}

// Context to generation GPUs of each workload; null where it is not disaggregated.
function ratios(point) {
  return point.served.map(([, , , context, generation]) => (context && generation ? context / generation : null));
}

// How an engine is filled: the colour says the role, the texture tells engines of one role apart.
function textures(point) {
  const seen = {};
  const found = {};
  const indices = [...new Set(point.uses.map(([index]) => index))];
  for (const index of indices) {
    const { role } = page.engines[index];
    found[index] = { role, texture: (seen[role] = (seen[role] ?? -1) + 1) % 6 };
  }
  return found;
}

const TEXTURES = [
  () => [],
  () => [svg("path", { class: "over", d: "M-2 2l4 -4M0 8l8 -8M6 10l4 -4" })],
  () => [svg("circle", { class: "over-dot", cx: 2, cy: 2, r: 1.3 }), svg("circle", { class: "over-dot", cx: 6, cy: 6, r: 1.3 })],
  () => [svg("path", { class: "over", d: "M0 2h8M0 6h8" })],
  () => [svg("path", { class: "over", d: "M2 0v8M6 0v8" })],
  () => [svg("path", { class: "over", d: "M0 0l8 8M8 0l-8 8" })],
];

// The fills of a picture; each picture has its own, so that it can be printed or copied alone.
function fills(prefix, used) {
  const patterns = Object.entries(used).map(([index, { role, texture }]) => svg(
    "pattern", { id: `${prefix}-${index}`, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
    svg("rect", { class: `f-${role}`, width: 8, height: 8 }), TEXTURES[texture](),
  ));
  return svg("defs", {}, patterns);
}

let swatches = 0;
function swatch(index, used) {
  swatches += 1;
  const prefix = `swatch${swatches}`;
  const picture = svg("svg", { class: "swatch", width: 16, height: 16, "aria-hidden": "true" });
  picture.append(fills(prefix, { [index]: used[index] }), svg("rect", { width: 16, height: 16, rx: 3, fill: `url(#${prefix}-${index})` }));
  return picture;
}
