// Operating curves of the engines in the pinned deployment, with what their fit cost and the recorded error of the model.

function curvesPart(node) {
  function redraw() {
    const point = state.pinned === null ? null : page.points[state.pinned];
    const chosen = point === null ? Object.keys(page.curves).map((index) => [index, null]) : point.uses;
    const parts = chosen.filter(([index]) => page.curves[index]).map(([index, batch]) => panels(index, batch));
    const lead = point === null && parts.length ? [html("p", { class: "lead" }, "For each role the engine with the lowest latency, against its limit.")] : [];
    node.replaceChildren(...lead, ...parts, ...(parts.length ? [] : [html("p", {}, "The cost model has no engine for this instance.")]));
  }

  function panels(index, batch) {
    const [curve, engine] = [page.curves[index], page.engines[index]];
    const name = engine.role === "prefill" ? "TTFT" : "TPOT";
    const several = page.workloads.length > 1 ? ` of ${engine.workload}` : "";
    const title = html("h3", {}, `${ROLE[engine.role]}${several} on ${engine.pool}: ${partitionOf(engine)}`);
    const kind = curve.between ? "batches between the breakpoints are admissible" : "the batches of the rows only";
    const fit = curve.between ? (curve.fit ? `fitted one-sidedly, at most ${number(100 * curve.fit, 3)} % worse than the samples (dark band)` : "no fit error") : "each row as it was given";
    const known = curve.known === null ? "" : ` Recorded error of the model (light band: ± the median): ${curve.knownText}.`;
    const three = curve.ttft.length > 0;
    const room = node.clientWidth < 560 ? widthOf(node) : Math.floor((widthOf(node) - (three ? 48 : 24)) / (three ? 3 : 2));
    return html("div", { class: `panels${three ? " three" : ""}` }, title,
      panel(index, batch, `${name}, ms`, curve.latency, -1, curve.limit, room),
      ...(three ? [panel(index, batch, "TTFT, ms", curve.ttft, -1, curve.ttftLimit, room)] : []),
      panel(index, batch, "requests/s of a replica", curve.rate, 1, null, room),
      html("p", { class: "caption" }, `${curve.batch.length} breakpoints, ${kind}; ${fit}.${known}`));
  }

  // ``side`` is where the samples lie: a latency is never under, a rate never over what was sampled.
  function panel(index, batch, title, values, side, limit, width) {
    const [curve, engine] = [page.curves[index], page.engines[index]];
    const height = 210;
    const known = values === curve.latency && curve.known ? curve.known : 0;
    const top = Math.max(...values) * (1 + known) * 1.2;
    const high = limit !== null && limit < 3 * top ? Math.max(top, limit * 1.08) : top;
    const low = Math.min(...values, limit ?? Infinity);
    const wide = side < 0 && high / low > 40; // small ones would lie on the axis
    const scale = (from, to) => (wide ? logarithmic(low * (1 - known), high, from, to, 4, 10) : linear(0, high, from, to, 4));
    const box = { left: margin(scale(0, 1).ticks), right: width - 14, top: 26, bottom: height - 42 };
    const y = scale(box.bottom, box.top);
    const [first, last] = [curve.batch[0], curve.batch[curve.batch.length - 1]];
    const x = last >= 16 ? logarithmic(first, last, box.left + 6, box.right - 6, width < 400 ? 5 : 8) : linear(Math.min(first, 1) - 0.5, last + 0.5, box.left, box.right, Math.min(8, last));
    const at = valueAt(curve, values, batch);
    const spoken = `${title} over batch ${first} to ${last}: from ${number(values[0], 4)} to ${number(values[values.length - 1], 4)}` + (at === null ? "" : `; at the chosen batch ${batch} ${number(at, 5)}`);
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spoken });
    axes(picture, box, x, y, { x: "batch", y: title });
    const line = (factor) => dense(curve, values).map(([b, v]) => `${x(b).toFixed(1)} ${y(v * factor).toFixed(1)}`);
    const band = (low, up, look) => picture.append(svg("path", { class: `f-${engine.role} ${look}`, d: `M${line(low).join("L")}L${line(up).reverse().join("L")}Z` }));
    if (known) band(1 - Math.min(known, 0.99), 1 + known, "known");
    if (curve.fit) band(1, side < 0 ? 1 / (1 + curve.fit) : 1 + curve.fit, "band");
    picture.append(svg("path", { class: `line s-${engine.role}`, "stroke-dasharray": curve.between ? null : "2 4", d: `M${line(1).join("L")}` }));
    curve.batch.forEach((b, place) => picture.append(svg("circle", { class: `mark f-${engine.role}`, cx: x(b), cy: y(values[place]), r: curve.batch.length > 60 ? 2 : 3.2 })));
    const far = batch === null || x(batch) > (box.left + box.right) / 2;
    const label = at === null ? "" : `batch ${number(batch)}: ${number(at, 5)}`;
    const room = 12 + 6.8 * label.length;
    const left = far && (at === null || x(batch) - room > box.left + 84);
    if (limit !== null && limit <= high) {
      picture.append(svg("line", { class: "limit", x1: box.left, x2: box.right, y1: y(limit), y2: y(limit) }), svg("text", { class: "limit", x: left ? box.left + 6 : box.right - 4, "text-anchor": left ? "start" : "end", y: y(limit) - 5 }, `limit ${number(limit)} ms`));
    }
    if (at !== null) {
      const near = limit !== null && limit <= high && Math.abs(y(limit) - y(at)) < 20;
      const under = near && x(batch) + room < box.right && y(at) + 24 < box.bottom; // a rising curve leaves that corner free
      const start = under || (far ? x(batch) - room < 0 : x(batch) + room < box.right);
      const below = under || y(at) < box.top + 14;
      picture.append(
        svg("circle", { class: "pin", cx: x(batch), cy: y(at), r: 7 }),
        svg("text", { class: "strong", x: x(batch) + (start ? 11 : -11), y: y(at) + (below ? 20 : -10), "text-anchor": start ? "start" : "end" }, label));
    }
    return picture;
  }

  // Straight lines in batch are bent on a logarithmic axis: more points between the breakpoints.
  function dense(curve, values) {
    const found = [];
    curve.batch.forEach((b, place) => {
      found.push([b, values[place]]);
      const next = curve.batch[place + 1];
      if (next === undefined || next - b < 2) return;
      for (let part = 1; part < 8; part += 1) {
        const between = b * (next / b) ** (part / 8);
        found.push([between, values[place] + ((values[place + 1] - values[place]) * (between - b)) / (next - b)]);
      }
    });
    return found;
  }

  function valueAt(curve, values, batch) {
    if (batch === null) return null;
    const right = curve.batch.findIndex((each) => each >= batch);
    if (curve.batch[right] === batch) return values[right];
    const [low, high] = [curve.batch[right - 1], curve.batch[right]];
    return values[right - 1] + ((values[right] - values[right - 1]) * (batch - low)) / (high - low);
  }

  follow(node, redraw);
}
