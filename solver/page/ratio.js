// Context to generation GPUs along the interactivity.

const toOne = (value) => (value >= 1 ? `${number(value)}:1` : `1:${number(1 / value)}`);
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];

function ratioChart(node) {
  const own = page.series[0];
  const forced = page.series.find((series) => series.name === "disaggregated");
  const has = (series) => series && series.points.some((index) => page.points[index].user !== null && ratios(page.points[index]).some((each) => each !== null));
  const series = has(own) ? own : has(forced) ? forced : null;

  function redraw() {
    const pinned = state.pinned === null ? null : page.points[state.pinned];
    const now = pinned === null ? [] : ratios(pinned);
    const told = page.workloads.map((name, place) => {
      if (!pinned || !now[place]) return null;
      const [, , , context, generation] = pinned.served[place];
      return `${page.workloads.length > 1 ? `${name}: ` : ""}${number(context)} context to ${number(generation)} generation GPUs = ${number(now[place], 4)}`;
    }).filter(Boolean);
    const caption = html("p", { class: "caption" }, told.length ? `Pinned: ${told.join("; ")}.` : "The pinned deployment is co-located: the same GPUs do both.");
    if (!series) {
      node.replaceChildren(html("p", {}, "No deployment here is disaggregated: there is no ratio to show."), ...(told.length ? [caption] : []));
      return;
    }
    const width = widthOf(node);
    const height = 230;
    const points = series.points.map((index) => page.points[index]).filter((each) => each.user !== null);
    const values = [...points.flatMap(ratios), ...now].filter((each) => each !== null);
    const y0 = logarithmic(Math.min(...values), Math.max(...values), 0, 1, 6);
    const box = { left: 14 + 7 * Math.max(...y0.ticks.map((tick) => toOne(tick).length)), right: width - 14, top: 28, bottom: height - 44 };
    const y = logarithmic(Math.min(...values), Math.max(...values), box.bottom - 8, box.top + 6, 6);
    const x = linear(0, Math.max(...points.map((each) => each.user)) * 1.04, box.left, box.right, width < 500 ? 5 : 10);
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spoken(points) });
    axes(picture, box, x, y, { x: "interactivity: output tokens/s per user", y: `prefill : decode GPUs${series === own ? "" : ", if disaggregated"}` }, toOne);
    page.workloads.forEach((name, place) => {
      let path = "";
      let from = box.left;
      for (const each of points) {
        const value = ratios(each)[place];
        if (value !== null) path += `M${from.toFixed(1)} ${y(value).toFixed(1)}L${x(each.user).toFixed(1)} ${y(value).toFixed(1)}`;
        else picture.append(svg("line", { class: "line s-colocated", x1: from, x2: x(each.user), y1: box.bottom, y2: box.bottom }));
        from = x(each.user);
      }
      picture.append(svg("path", { class: "line s-disaggregated", "stroke-dasharray": DASHES[place % DASHES.length] || null, "stroke-width": 2.5, d: path }));
      for (const each of points) {
        const value = ratios(each)[place];
        if (value !== null && points.length <= 150) picture.append(marker("disaggregated", x(each.user), y(value), 3));
      }
      if (now[place] && pinned.user !== null) picture.append(svg("circle", { class: "pin", cx: x(pinned.user), cy: y(now[place]), r: 8 }));
    });
    const keys = page.workloads.length < 2 ? [] : page.workloads.map((name, place) => html("li", { class: "key" },
      svg("svg", { width: 30, height: 12, "aria-hidden": "true" }, svg("path", { class: "line s-disaggregated", "stroke-dasharray": DASHES[place % DASHES.length] || null, d: "M0 6H30" })), name));
    const gaps = points.some((each) => ratios(each).some((value) => value === null));
    if (gaps) keys.push(html("li", { class: "key" }, svg("svg", { width: 30, height: 12, "aria-hidden": "true" }, svg("path", { class: "line s-colocated", d: "M0 6H30" })), "co-located here: no ratio"));
    node.replaceChildren(...(keys.length ? [html("ul", { class: "legend" }, keys)] : []), picture, caption);
  }

  function spoken(points) {
    const values = points.flatMap(ratios).filter((each) => each !== null);
    return `Prefill GPUs per decode GPU along interactivity: from ${number(Math.min(...values), 3)} to ${number(Math.max(...values), 3)} over ${points.length} points; the table of points has the GPUs of each.`;
  }

  follow(node, redraw);
}
