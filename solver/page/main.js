// Draws what the page has places for.

const parts = {
  "frontier-figure": frontierChart, "ratio-figure": ratioChart, "deployment-figure": deploymentPart,
  "packing-figure": packingPicture, "curves-figure": curvesPart,
};
for (const [id, part] of Object.entries(parts)) {
  const node = document.getElementById(id);
  if (node) part(node);
}
