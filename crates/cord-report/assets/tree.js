// The search as a drawing: a column for each step, a dot for each candidate in its teacher's colour, better ones above.

const TREE = { narrowest: 38, widest: 120, row: 15, left: 24, top: 24, radius: 5.5 };

/** The candidates of a search by depth, the path first, then by rank. */
function byDepth(page, path) {
  const depths = new Map();
  for (const candidate of page.candidates) {
    // Answers are asked for when the search is over, at any depth: they get a column of their own.
    const depth = candidate.kind === "answer" ? Infinity : candidate.depth;
    if (!depths.has(depth)) depths.set(depth, []);
    depths.get(depth).push(candidate);
  }
  const place = (candidate) => [candidate.rank ?? Infinity, candidate.fate === "duplicate" ? 1 : 0, candidate.id];
  const compare = (a, b) => {
    const [x, y] = [place(a), place(b)];
    const at = x.findIndex((value, index) => value !== y[index]);
    return at < 0 ? 0 : x[at] < y[at] ? -1 : 1;
  };
  return [...depths].sort(([a], [b]) => a - b).map(([depth, candidates]) => ({
    depth,
    candidates: candidates.sort((a, b) => (depth === Infinity ? path.has(b.id) - path.has(a.id) : 0) || compare(a, b)),
  }));
}

const isLost = (candidate, path) => !path.has(candidate.id) && (candidate.fate === "dropped" || candidate.fate === "duplicate");

/** The drawing, `room` pixels wide if its columns allow; `go(candidate)` is called for the candidate that the reader points at.
 * Nothing where there is no step. */
function drawTree(page, columns, path, room, go) {
  if (columns.length < 2) return null;
  const { narrowest, widest, row, left, top, radius } = TREE;
  const column = clamp((room - 2 * left) / (columns.length - 1), [narrowest, widest]);
  const most = Math.max(...columns.map((one) => one.candidates.length));
  const [width, height] = [left * 2 + (columns.length - 1) * column, top + most * row + 6];
  const at = new Map();
  columns.forEach(({ candidates }, x) => candidates.forEach((candidate, y) => at.set(candidate.id, [left + x * column, top + 6 + y * row])));
  const edges = { lost: [], kept: [], path: [] };
  const nodes = [];
  for (const candidate of page.candidates) {
    const [x, y] = at.get(candidate.id);
    const from = at.get(candidate.parent);
    const onPath = path.has(candidate.id);
    const kind = onPath ? "path" : isLost(candidate, path) ? "lost" : "kept";
    if (from) {
      const bend = (x - from[0]) / 2;
      edges[kind].push(s("path", { class: `edge ${kind}`, d: `M${from[0]} ${from[1]}C${from[0] + bend} ${from[1]} ${x - bend} ${y} ${x} ${y}` }));
    }
    const name = run.teachers[candidate.teacher];
    const score = candidate.score === undefined ? "" : `, score ${candidate.score.toFixed(3)}`;
    const node = s("circle", {
      class: `node ${kind}`, cx: x, cy: y, r: onPath ? radius + 1.5 : radius, fill: teacherColour(candidate.teacher), "data-node": candidate.id,
      onclick: () => go(candidate),
    }, s("title", {}, `${name}${score}, ${onPath ? "chosen" : candidate.fate}`));
    (onPath ? nodes.push(node) : nodes.unshift(node));
  }
  const labels = columns.map(({ depth }, x) => s("text", { x: left + x * column, y: 12 }, depth === Infinity ? "answer" : String(depth + 1)));
  const drawing = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `search of ${plural(columns.length, "column")} and ${plural(page.candidates.length, "candidate")}; each candidate is listed below` },
    labels, edges.lost, edges.kept, edges.path, nodes);
  const teachers = [...new Set(page.candidates.map((candidate) => candidate.teacher))].sort((a, b) => a - b);
  return h("figure", { class: "tree" },
    h("figcaption", {},
      h("ul", {}, teachers.map((teacher) => h("li", {}, dot(teacher), run.teachers[teacher]))),
      h("span", {}, "steps from left to right, better candidates above, the chosen path in bold")),
    h("div", { class: "view", tabindex: "0", role: "region", "aria-label": "the search as a drawing" }, drawing));
}
