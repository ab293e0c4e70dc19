// GPUs in their NVLink domains: linked squares are a stage group, grey ones are idle.

const MOST_BOXES = 24;

function packingPicture(node) {
  let pictures = 0;

  function redraw() {
    const point = page.points[state.pinned];
    const used = textures(point);
    const pools = page.packings[point.packing];
    if (!pools.length) {
      node.replaceChildren(html("p", {}, "The number of GPUs is unlimited, and replicas are real numbers: there are no domains to fill."));
      return;
    }
    const keys = [...new Set(point.uses.map(([index]) => index))].map((index) => {
      const engine = page.engines[index];
      const several = page.workloads.length > 1 ? ` ${engine.workload}` : "";
      return html("li", { class: "key" }, swatch(index, used), `${ROLE[engine.role]} ${partitionOf(engine)}${several}`);
    });
    const idle = svg("svg", { class: "swatch", width: 16, height: 16, "aria-hidden": "true" }, svg("rect", { class: "f-idle", width: 16, height: 16, rx: 3 }));
    node.replaceChildren(
      html("ul", { class: "legend" }, keys, html("li", { class: "key" }, idle, "idle")),
      ...pools.flatMap((pool) => poolOf(pool, used)),
      html("p", { class: "caption" }, "Squares that are linked are one stage group: GPUs that talk at every layer. Groups of one size may change places."));
  }

  function roleOf(index) {
    const { role, workload } = page.engines[index];
    return page.workloads.length > 1 ? `${ROLE[role]} ${workload}` : ROLE[role];
  }

  function poolOf(pool, used) {
    const domains = pool.boxes.reduce((sum, box) => sum + box.domains, 0);
    const each = domains <= MOST_BOXES && pool.domain > 1;
    const title = html("h3", {}, `${pool.pool}: ${number(domains)} ${domains === 1 ? "domain" : "domains"} of ${number(pool.domain)} ${pool.domain === 1 ? "GPU" : "GPUs"}`);
    return [title, ...pool.boxes.map((box) => boxOf(box, pool, used, each))];
  }

  // Domains that are filled alike: each drawn, or one for all of them.
  function boxOf(box, pool, used, each) {
    const stands = box.groups.map(([index, size, count]) => `${count} ${count === 1 ? "group" : "groups"} of ${size} (${roleOf(index)})`).join(", ");
    const taken = box.groups.reduce((sum, [, size, count]) => sum + size * count, 0);
    const spans = box.spans > 1 ? `a group stands in ${box.spans} domains` : "";
    const partial = box.gpus < pool.domain ? "partial domain" : "";
    const words = [stands || "idle", taken && taken < box.gpus ? `${box.gpus - taken} idle` : "", spans, partial].filter(Boolean).join(", ");
    const drawn = each ? box.domains : 1;
    const spoken = `${each ? "a domain" : `${number(box.domains)} domains`} of ${box.gpus} GPUs: ${words}`;
    const frame = () => html("div", { class: "frame" }, squares(box, used, spoken));
    const joined = each && box.spans > 1 && box.domains % box.spans === 0 ? box.spans : 1;
    const frames = Array.from({ length: drawn / joined }, () => (joined > 1 ? html("div", { class: "span" }, Array.from({ length: joined }, frame)) : frame()));
    return html("div", { class: `box${drawn < box.domains ? " many" : ""}` }, html("div", { class: "frames" }, frames), html("b", {}, `${number(box.domains)} ${box.domains === 1 ? "domain" : "domains"}`), box.domains > 1 ? ", each " : ", ", words);
  }

  // Column by column, four GPUs high (a tray of four, two of a node of eight): groups stay together.
  function squares(box, used, spoken) {
    const cell = box.gpus > 36 ? 11 : 14;
    const [gap, link] = [3, 4];
    let high = Math.min(4, box.gpus);
    while (Math.ceil(box.gpus / high) * (cell + gap) > widthOf(node) - 30) high *= 2;
    const across = Math.ceil(box.gpus / high);
    pictures += 1;
    const prefix = `packing${pictures}`;
    const [width, height] = [across * (cell + gap) - gap, high * (cell + gap) - gap];
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spoken });
    const here = Object.fromEntries(box.groups.map(([index]) => [index, used[index]]));
    picture.append(fills(prefix, here));
    const place = (gpu) => [Math.floor(gpu / high) * (cell + gap), (gpu % high) * (cell + gap)];
    let next = 0;
    for (const [index, size, count] of box.groups) {
      for (let group = 0; group < count; group += 1) {
        const [first, last] = [next, next + size];
        for (; next < last; next += 1) {
          const [x, y] = place(next);
          picture.append(svg("rect", { x, y, width: cell, height: cell, rx: 1.5, fill: `url(#${prefix}-${index})` }));
          const middle = (cell - link) / 2;
          if (next + 1 < last && (next + 1) % high) picture.append(svg("rect", { class: `f-${used[index].role}`, x: x + middle, y: y + cell - 1, width: link, height: gap + 2 }));
          if (next - high >= first) picture.append(svg("rect", { class: `f-${used[index].role}`, x: x - gap - 1, y: y + middle, width: gap + 2, height: link }));
        }
      }
    }
    for (; next < box.gpus; next += 1) {
      const [x, y] = place(next);
      picture.append(svg("rect", { class: "f-idle", x, y, width: cell, height: cell, rx: 1.5 }));
    }
    return picture;
  }

  follow(node, redraw);
}
