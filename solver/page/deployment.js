// The pinned deployment in numbers.

function deploymentPart(node) {
  const title = document.getElementById("deployment-title");
  function redraw() {
    const point = page.points[state.pinned];
    const used = textures(point);
    title.textContent = `Deployment${point.user === null ? "" : ` at ${number(point.user)} tokens/s/user`}`
      + (state.pinned === page.optimum ? ": the optimum of the instance" : "");
    const tiles = [
      [number(point.y, 5), page.least ? page.yLabel : "tokens/s/GPU"],
      [number(point.user, 5), "tokens/s/user"],
      ...(page.yLabel === "GPUs used" ? [] : [[number(point.gpus), page.inventory ? `of ${number(page.inventory)} GPUs` : "GPUs"]]),
      [number(point.ttft, 5), "ms TTFT"],
      [number(point.tpot, 5), "ms TPOT"],
      [number(point.tokens, 5), "tokens/s"],
      ...(page.least && point.perGpu !== null ? [[number(point.perGpu, 5), "tokens/s/GPU"]] : []),
      ...(point.usd === null || page.yLabel === "USD per hour" ? [] : [[number(point.usd, 5), "USD/hour"]]),
      ...(point.usdPerMillion === null ? [] : [[number(point.usdPerMillion, 4), "USD per M tokens"]]),
      ...(point.watts === null ? [] : [[number(point.watts), "W"]]),
    ].map(([value, name]) => html("div", {}, html("b", {}, value), html("span", {}, name)));
    const names = ["role", "workload", "pool", "partition", "batch", "replicas", "GPUs", "latency", "requests/s", "runs on"];
    const numbers = new Set([4, 5, 6, 7, 8]);
    const rows = point.uses.map(([index, batch, replicas, gpus, latency, rate]) => {
      const engine = page.engines[index];
      const cells = [
        html("span", {}, swatch(index, used), ROLE[engine.role]), engine.workload, engine.pool, partitionOf(engine), number(batch), number(replicas),
        number(gpus), `${engine.role === "prefill" ? "TTFT" : "TPOT"} ${number(latency)} ms`, number(rate), engine.engine,
      ];
      return html("tr", {}, cells.map((cell, place) => html("td", { "data-label": names[place], class: numbers.has(place) ? "number" : null }, cell)));
    });
    const head = html("thead", {}, html("tr", {}, names.map((name, place) => html("th", { scope: "col", class: numbers.has(place) ? "number" : null }, name))));
    const flows = page.workloads.map((name, place) => {
      const [rate, prefill, decode, , , total] = point.served[place];
      const both = prefill && decode ? `; capacity of prefill ${number(prefill)}, of decode ${number(decode)} requests/s (ratio ${number(prefill / decode, 4)})` : "";
      const end = total === null ? "" : `; end to end ${number(total)} ms`;
      return html("p", { class: "caption" }, `${name}: ${MODE[point.modes[place]]}, ${number(rate)} requests/s${both}${end}.`);
    });
    node.replaceChildren(
      html("div", { class: "tiles" }, tiles),
      html("table", { class: "cards" }, head, html("tbody", {}, rows)),
      ...flows,
      html("p", { class: "caption" }, `Proof: ${point.proof}.`));
  }

  follow(node, redraw);
}
