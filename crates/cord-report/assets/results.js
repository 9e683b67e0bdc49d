// The first view: what came out, who wrote it, how students learnt, and the stages behind it.

function showResults() {
  const parts = [headline()];
  if (run.notes.length) parts.push(h("ul", { class: "notes" }, run.notes.map((note) => h("li", {}, note))));
  parts.push(...run.tables.map(resultTable));
  if (run.shares.length) parts.push(shareFigures());
  if (run.curves.length) parts.push(...curveFigures());
  parts.push(...run.runs.map(stageTable));
  byId("results").replaceChildren(...parts);
}

function headline() {
  const stages = run.runs.flatMap((one) => one.stages);
  const done = stages.filter((stage) => stage.state === "done").length;
  const state = done === stages.length ? chip("done", "finished") : chip("begun", `${done} of ${stages.length} stages done`);
  const title = run.tables.length === 1 && run.runs.length === 1 ? run.tables[0].title : run.title;
  const facts = run.runs.flatMap((one) => [
    h("span", {}, "run ", h("b", {}, one.name)),
    one.recipe && h("span", {}, "recipe ", h("b", { class: "mono" }, one.recipe)),
    one.commit && h("span", {}, "commit ", h("b", { class: "mono" }, one.commit)),
    one.machine && h("span", {}, one.machine),
  ]);
  const problems = run.collections.map((one) => h("a", { href: `#/problems?set=${encodeURIComponent(one.name)}` }, `${count(one.problems.length)} of ${one.name}`));
  return h("header", {},
    h("h1", {}, title),
    h("p", { class: "facts" }, state, facts),
    problems.length > 0 && h("p", { class: "facts" }, "problems: ", problems));
}

function resultTable(table) {
  // Every interval of a column on one scale; shares are always drawn from 0 to 1.
  const scales = table.columns.map((column, place) => {
    if (column.share) return [0, 1];
    const ranges = table.rows.map((row) => row.cells[place].range).filter(Boolean);
    return [Math.min(0, ...ranges.map((range) => range[1])), Math.max(1e-9, ...ranges.map((range) => range[2]))];
  });
  const head = h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "arm"), table.columns.map((column) => h("th", { scope: "col" }, column.label))));
  const body = h("tbody", {}, table.rows.map((row) => h("tr", {},
    h("th", { scope: "row", class: "arm" }, row.arm),
    row.cells.map((cell, place) => resultCell(cell, table.columns[place], scales[place])))));
  return h("section", { class: "block" },
    (run.tables.length > 1 || run.runs.length > 1) && h("h2", {}, table.title),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `table: ${table.title}` },
      h("table", {}, h("caption", { class: "visually-hidden" }, table.title), head, body)),
    table.orders.length > 0 && h("h3", {}, "Expected orders"),
    table.orders.length > 0 && h("ul", { class: "orders" }, table.orders.map((order) => h("li", {}, standing(order.standing), h("span", {}, order.text)))),
    h("ul", { class: "small" }, table.lines.map((line) => h("li", {}, line))));
}

const STANDINGS = { holds: "holds", reversed: "reversed", undecided: "undecided", unmeasured: "unmeasured" };
const standing = (word) => h("span", { class: `chip ${word}` }, STANDINGS[word]);

function resultCell(cell, column, scale) {
  if (cell.text === null) return h("td", { class: "soft" }, "–", paper(cell, column));
  return h("td", {},
    h("span", { class: "value" }, cell.text),
    cell.range && whisker(cell.range, scale),
    cell.interval && h("span", { class: "interval" }, cell.interval),
    paper(cell, column));
}

const paper = (cell, column) => cell.paper && h("span", { class: "paper" }, `${column.paper} ${cell.paper}`);

function whisker([value, low, high], [from, to]) {
  const width = 96;
  const at = (number) => ((number - from) / (to - from)) * width;
  return s("svg", { class: "whisker", width, height: 10, "aria-hidden": "true" },
    s("rect", { class: "track", x: 0, y: 3, width, height: 4, rx: 2 }),
    s("rect", { class: "reach", x: 0, y: 3, width: at(value), height: 4, rx: 2 }),
    s("rect", { class: "span", x: at(low), y: 0, width: Math.max(2, at(high) - at(low)), height: 10, rx: 2 }),
    s("rect", { class: "value", x: Math.max(0, at(value) - 1), y: 0, width: 2, height: 10 }));
}

function shareFigures() {
  const names = run.teachers.map((name, place) => [name, place]).filter(([name]) => run.shares.some((arm) => arm.teachers.some((one) => one.teacher === name)));
  const panels = run.shares.map((arm) => chart({
    title: arm.arm,
    x: "progress of the trajectory, %",
    y: "share of chosen steps, %",
    range: { x: [0, 100], y: [0, 100] },
    xTicks: [0, 25, 50, 75, 100],
    unit: (value) => String(Math.round(value)),
    place: (at) => `${at} %`,
    lines: arm.teachers.map((one) => {
      const middle = (part) => (100 * (part + 0.5)) / one.parts.length;
      return {
        name: one.teacher,
        colour: teacherColour(run.teachers.indexOf(one.teacher)),
        points: one.parts.map((part, at) => [middle(at), 100 * part.value]),
        band: one.parts.map((part, at) => [middle(at), 100 * part.low, 100 * part.high]),
      };
    }),
  }));
  return h("section", { class: "block" },
    h("h2", {}, "Who writes what part of a trajectory"),
    h("p", {}, "The share of the chosen reasoning steps that each teacher wrote, over the progress of the best trajectories. Bands are 95 % intervals, clustered by problem."),
    legend(names.map(([name, place]) => [name, teacherColour(place)])),
    h("div", { class: "panels" }, panels));
}

const legend = (names, more = []) => h("ul", { class: "legend" }, names.map(([name, colour]) => {
  const mark = h("span", { class: "dot", "aria-hidden": "true" });
  mark.style.background = colour;
  return h("li", {}, mark, name);
}), more);

const MEASURES = [
  { key: "loss", title: "Training loss", y: "nats a token", smooth: true },
  { key: "validation", title: "Validation loss", y: "nats a token" },
  { key: "learningRate", title: "Learning rate", y: "" },
  { key: "gradientNorm", title: "Gradient norm", y: "before clipping", smooth: true },
  { key: "tokensPerSecond", title: "Speed", y: "tokens a second", smooth: true },
];

function curveFigures() {
  const colour = (place) => `var(--series-${place % 6})`;
  const panels = MEASURES.map(({ key, title, y, smooth: softened }) => {
    const lines = run.curves.map((curve, place) => {
      const all = key === "validation" ? curve.validation : curve[key].map((value, at) => [curve.step[at], value]);
      const line = { name: curve.label, colour: colour(place), points: softened ? smoothed(all) : thinned(all) };
      return softened && all.length > 20 ? { ...line, raw: thinned(all) } : line;
    });
    return lines.some((line) => line.points.length) && chart({ title, x: "step", y, lines, place: (at) => `step ${count(Math.round(at))}` });
  });
  const running = run.curves.filter((curve) => !curve.finished).map((curve) => curve.label);
  return [h("section", { class: "block" },
    h("h2", {}, "How students learnt"),
    h("p", {}, "Lines are running means; what was measured stands faintly behind them.", running.length > 0 && ` Still training: ${running.join(", ")}.`),
    legend(run.curves.map((curve, place) => [curve.label, colour(place)])),
    h("div", { class: "panels" }, panels))];
}

const STAGES = { done: "done", begun: "begun", "to-run": "to run" };

function stageTable(one) {
  const columns = ["stage", "state", "seconds", "generated tokens", "scored tokens", "failed"];
  const optional = (value) => (value === null ? "–" : count(value));
  const rows = one.stages.map((stage) => h("tr", {},
    h("th", { scope: "row" }, stage.label, h("div", { class: "soft mono" }, stage.folder)),
    h("td", { class: "text" }, h("span", { class: `chip ${stage.state}` }, STAGES[stage.state]), stage.progress && h("div", { class: "soft" }, stage.progress)),
    h("td", {}, stage.seconds === null ? "–" : duration(stage.seconds)),
    h("td", {}, optional(stage.generated)),
    h("td", {}, optional(stage.scored)),
    h("td", {}, stage.failed ? h("span", { class: "chip failed" }, count(stage.failed)) : "0")));
  return h("section", { class: "block" },
    h("h2", {}, run.runs.length > 1 ? `Stages of ${one.name}` : "Stages"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `stages of ${one.name}` }, h("table", {},
      h("caption", { class: "visually-hidden" }, `stages of ${one.name}`),
      h("thead", {}, h("tr", {}, columns.map((name, at) => h("th", { scope: "col", class: at === 1 ? "text" : null }, name)))),
      h("tbody", {}, rows))),
    h("p", { class: "small" }, one.folder));
}
