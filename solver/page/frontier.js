// The frontier: steps, points, a card that follows pointer and keys.

function frontierChart(node) {
  const own = page.series[0];
  const looked = { series: 0, place: 0, on: false };
  const live = html("p", { class: "hidden", "aria-live": "polite" });
  const card = html("div", { class: "card", hidden: true });
  const plot = html("div", {
    class: "plot", tabindex: 0, role: "application",
    "aria-label": `Frontier of ${page.name}: ${page.yLabel} against tokens per second per user. `
      + "Left and right arrows move along a frontier, up and down change it, Enter pins.",
  });
  let at = {};

  node.replaceChildren(legend(redraw), plot, card, live);

  const shown = () => page.series.filter((series) => !state.hidden.has(series.name));
  const point = () => page.points[page.series[looked.series].points[looked.place]];

  function redraw() {
    const width = widthOf(node);
    const height = Math.round(Math.min(440, Math.max(280, width * 0.5)));
    const points = shown().flatMap((series) => series.points.map((index) => page.points[index])).filter((each) => each.user !== null);
    const all = state.pinned === null ? points : [...points, page.points[state.pinned]].filter((each) => each.user !== null);
    if (!all.length) {
      plot.replaceChildren(html("p", {}, "Nothing is decoded: with one output token there is no interactivity to draw over."));
      return;
    }
    const high = Math.max(...all.map((each) => each.y)) * 1.06;
    const y0 = linear(0, high, 0, 1, 6);
    const box = { left: margin(y0.ticks), right: width - 14, top: 28, bottom: height - 44 };
    const y = linear(0, high, box.bottom, box.top, 6);
    const x = linear(0, Math.max(...all.map((each) => each.user)) * 1.04, box.left, box.right, width < 500 ? 5 : 10);
    at = { x, y, box };
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    axes(picture, box, x, y, { x: "interactivity: output tokens/s per user", y: page.yLabel + (page.least ? " (less is better)" : "") });
    limitLine(picture, x, box);
    if (shown().includes(own)) picture.append(svg("path", { class: "halo", d: steps(own, x, y, box) }));
    for (const series of shown().filter((each) => each !== own).reverse()) {
      picture.append(svg("path", { class: `line s-${series.name}${series.allowed ? "" : " what-if"}`, d: steps(series, x, y, box) }));
      if (series.points.length <= 60) dots(picture, series, x, y, 2.2);
    }
    if (shown().includes(own)) dots(picture, own, x, y, own.points.length > 150 ? 2.4 : 4);
    mark(picture, x, y);
    picture.append(svg("g", { class: "look" }));
    plot.replaceChildren(picture);
    look(looked.on);
  }

  function limitLine(picture, x, box) {
    if (!page.tpotLimit) return;
    const where = x(1000 / page.tpotLimit);
    if (where > box.right - 4) return;
    picture.append(
      svg("line", { class: "limit", x1: where, x2: where, y1: box.top, y2: box.bottom }),
      svg("text", { class: "limit", x: where - 5, y: box.bottom - 8, transform: `rotate(-90 ${where - 5} ${box.bottom - 8})` }, `TPOT limit ${number(page.tpotLimit)} ms`),
    );
  }

  function mark(picture, x, y) {
    const pinned = state.pinned === null ? null : page.points[state.pinned];
    if (pinned === null || pinned.user === null) return;
    const left = x(pinned.user) > width(picture) * 0.62;
    picture.append(
      svg("circle", { class: "pin", cx: x(pinned.user), cy: y(pinned.y), r: 9 }),
      svg("text", { class: "strong", x: x(pinned.user) + (left ? -13 : 13), y: y(pinned.y) - 11, "text-anchor": left ? "end" : "start" },
        state.pinned === page.optimum ? "the optimum" : "pinned"),
    );
  }

  const width = (picture) => Number(picture.getAttribute("width"));

  function look(on) {
    looked.on = on;
    const layer = plot.querySelector(".look");
    if (!layer) return;
    layer.replaceChildren();
    card.hidden = !on;
    if (!on) return;
    const chosen = point();
    const { x, y, box } = at;
    const [left, top] = [x(chosen.user), y(chosen.y)];
    layer.append(
      svg("line", { class: "cross", x1: left, x2: left, y1: top, y2: box.bottom }),
      svg("line", { class: "cross", x1: box.left, x2: left, y1: top, y2: top }),
      svg("circle", { class: "ring", cx: left, cy: top, r: 7 }),
    );
    describe(card, chosen, page.series[looked.series]);
    live.textContent = sentence(chosen);
    const wide = node.clientWidth;
    const side = left + 20 + 390 <= wide ? left + 20 : Math.max(0, left - 410);
    card.style.left = `${side}px`;
    card.style.top = `${Math.max(0, Math.min(plot.offsetTop + top - 40, plot.offsetTop + box.bottom - card.offsetHeight))}px`;
  }

  function nearest(event) {
    const bounds = plot.getBoundingClientRect();
    const [px, py] = [event.clientX - bounds.left, event.clientY - bounds.top];
    let best = Infinity;
    page.series.forEach((series, number_) => {
      if (state.hidden.has(series.name)) return;
      series.points.forEach((index, place) => {
        const each = page.points[index];
        const distance = (at.x(each.user) - px) ** 2 + 0.35 * (at.y(each.y) - py) ** 2;
        if (distance < best - 1e-9) {
          best = distance;
          looked.series = number_;
          looked.place = place;
        }
      });
    });
    return best < Infinity;
  }

  plot.addEventListener("pointermove", (event) => { if (at.x && nearest(event)) look(true); });
  plot.addEventListener("pointerdown", (event) => { if (at.x && nearest(event)) look(true); });
  plot.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") look(document.activeElement === plot && plot.matches(":focus-visible")); });
  plot.addEventListener("click", (event) => { if (at.x && nearest(event)) pin(page.series[looked.series].points[looked.place]); });
  plot.addEventListener("focus", () => {
    if (!plot.matches(":focus-visible") || !at.x) return;
    const pinned = state.pinned === null ? 0 : page.points[state.pinned].user;
    const near = own.points.map((index) => Math.abs(page.points[index].user - pinned));
    Object.assign(looked, { series: 0, place: near.indexOf(Math.min(...near)) });
    look(true);
  });
  plot.addEventListener("blur", () => look(false));
  plot.addEventListener("keydown", (event) => {
    const last = () => page.series[looked.series].points.length - 1;
    const moves = {
      ArrowLeft: () => { looked.place = Math.max(0, looked.place - 1); },
      ArrowRight: () => { looked.place = Math.min(last(), looked.place + 1); },
      Home: () => { looked.place = 0; },
      End: () => { looked.place = last(); },
      ArrowUp: () => another(1),
      ArrowDown: () => another(-1),
      Enter: () => pin(page.series[looked.series].points[looked.place]),
      " ": () => pin(page.series[looked.series].points[looked.place]),
      Escape: () => { looked.on = false; },
    };
    if (!(event.key in moves) || !at.x) return;
    event.preventDefault();
    looked.on = true;
    moves[event.key]();
    look(looked.on);
  });

  function another(step) {
    const user = point().user;
    do {
      looked.series = (looked.series + step + page.series.length) % page.series.length;
    } while (state.hidden.has(page.series[looked.series].name));
    const near = page.series[looked.series].points.map((index) => Math.abs(page.points[index].user - user));
    looked.place = near.indexOf(Math.min(...near));
  }

  follow(node, redraw);
}

// What a user can have at least: the value of a point holds for every interactivity below it, down to the next point.
function steps(series, x, y, box) {
  let path = "";
  let from = box.left;
  for (const index of series.points) {
    const each = page.points[index];
    if (each.user === null) continue;
    path += `${path ? "L" : "M"}${from.toFixed(1)} ${y(each.y).toFixed(1)}L${x(each.user).toFixed(1)} ${y(each.y).toFixed(1)}`;
    from = x(each.user);
  }
  return path;
}

function dots(picture, series, x, y, size) {
  for (const index of series.points) {
    const each = page.points[index];
    if (each.user !== null) picture.append(marker(series.name === "own" ? modeOf(each) : series.name, x(each.user), y(each.y), size));
  }
}

function legend(redraw) {
  const items = page.series.map((series) => {
    const own = series.name === "own";
    const picture = svg("svg", { width: 26, height: 14, "aria-hidden": "true" });
    picture.append(own ? svg("path", { class: "halo", d: "M0 7H26" })
      : svg("path", { class: `line s-${series.name}${series.allowed ? "" : " what-if"}`, d: "M0 7H26" }));
    const modes = [...new Set(series.points.map((index) => modeOf(page.points[index])))];
    if (!own || modes.length === 1) picture.append(marker(own ? modes[0] : series.name, 13, 7, 3.6));
    const text = own ? `${series.label}: ${modes.map((mode) => MODE[mode]).join(", ")}`
      : `${series.label}${series.allowed ? "" : ", if it were allowed"}`;
    const button = html("button", { type: "button", "aria-pressed": "true" }, picture, text + (series.missing ? " (not complete)" : ""));
    button.addEventListener("click", () => {
      const on = state.hidden.has(series.name);
      if (!on && state.hidden.size === page.series.length - 1) return;
      if (on) state.hidden.delete(series.name); else state.hidden.add(series.name);
      button.setAttribute("aria-pressed", String(on));
      redraw();
    });
    return html("li", {}, button);
  });
  return html("ul", { class: "legend", "aria-label": "Frontiers; press to hide or show" }, items);
}

function describe(card, point, series) {
  const used = textures(point);
  const rows = point.uses.map(([index, batch, replicas, gpus, latency]) => {
    const engine = page.engines[index];
    return html("tr", {},
      html("td", {}, swatch(index, used), `${number(replicas)} × ${ROLE[engine.role]}`),
      html("td", {}, `${partitionOf(engine)}, batch ${number(batch)}`),
      html("td", { class: "number" }, `${number(gpus)} GPUs`),
      html("td", { class: "number" }, `${number(latency, 4)} ms`));
  });
  const context = ratios(point).filter((each) => each !== null).map((each) => number(each, 4)).join(", ");
  const facts = [
    `TTFT ${number(point.ttft)} ms`, `TPOT ${number(point.tpot)} ms`, `${number(point.requests)} requests/s`,
    `${number(point.gpus)}${page.inventory ? ` of ${number(page.inventory)}` : ""} GPUs`,
    context && `ctx:gen ${context}`, point.usd !== null && `${number(point.usd, 5)} USD/hour`,
  ].filter(Boolean);
  card.replaceChildren(
    html("p", {}, html("b", {}, `${userText(point)}, ${heightText(point)}`)),
    html("p", {}, series.name === "own" ? MODE[modeOf(point)] : `${series.label} envelope`),
    html("table", {}, html("tbody", {}, rows)),
    html("p", { class: "caption" }, facts.join(" · ")));
}
