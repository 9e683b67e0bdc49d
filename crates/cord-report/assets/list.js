// The list of problems. Only the rows in sight are in the page: a run may have thousands.

const ROW = 66;
const SPARE = 6;
let listed = [];

function options(select, entries, value) {
  select.replaceChildren(...entries.map(([key, text]) => h("option", { value: key }, text)));
  select.value = String(value);
}

/** Draws the choices, the filters and the list anew. */
function showList() {
  const set = collection();
  if (!set) {
    byId("count").replaceChildren("No stage of this run has problems with responses yet.");
    for (const id of ["states", "writers"]) byId(id).replaceChildren();
    listed = [];
    return drawRows();
  }
  options(byId("collection"), run.collections.map((one, at) => [at, `${one.name} (${count(one.problems.length)})`]), choice.set);
  const arms = set.arms.map((arm, at) => [at, arm.label]);
  options(byId("arm"), arms, choice.arm);
  options(byId("other"), [[-1, "nothing"], ...arms.filter(([at]) => at !== choice.arm)], choice.other);
  const stepwise = armOf(choice.arm)?.kind === "trajectories";
  options(byId("order"), Object.entries(ORDERS).filter(([key]) => stepwise || key === "name" || key === "tokens"), choice.order);
  if (byId("search").value !== choice.search) byId("search").value = choice.search;
  listed = chosenProblems();
  showStates();
  showWriters();
  byId("count").replaceChildren(listed.length === set.problems.length ? plural(listed.length, "problem") : `${count(listed.length)} of ${plural(set.problems.length, "problem")}`);
  drawRows();
}

function toggles(id, entries, chosen, change) {
  byId(id).replaceChildren(...entries.map(([key, number, label, mark]) => h("button", {
    type: "button", "aria-pressed": String(chosen.has(key)), "data-key": key,
    onclick: () => {
      chosen.has(key) ? chosen.delete(key) : chosen.add(key);
      change();
      byId(id).querySelector(`[data-key="${key}"]`)?.focus();
    },
  }, mark, h("span", {}, label), h("span", { class: "number" }, count(number)))));
}

function showStates() {
  const counts = new Map();
  const add = (key) => counts.set(key, (counts.get(key) ?? 0) + 1);
  for (const problem of chosenProblems("states")) {
    statesOf(entryOf(choice.arm, problem)).forEach(add);
    if (choice.other >= 0) add(pairOf(problem));
  }
  const names = { ...(choice.other >= 0 ? PAIRS : {}), ...STATES };
  const entries = Object.keys(names).filter((key) => counts.has(key) || choice.states.has(key));
  toggles("states", entries.map((key) => [key, counts.get(key) ?? 0, names[key]]), choice.states, applied);
}

function showWriters() {
  const counts = new Map();
  for (const problem of chosenProblems("writers")) {
    for (const writer of new Set(entryOf(choice.arm, problem)?.writers ?? [])) counts.set(writer, (counts.get(writer) ?? 0) + 1);
  }
  const writers = run.teachers.map((_, writer) => writer).filter((writer) => counts.has(writer) || choice.writers.has(writer));
  toggles("writers", writers.map((writer) => [writer, counts.get(writer) ?? 0, run.teachers[writer], dot(writer)]), choice.writers, applied);
}

function ribbon(writers) {
  return h("div", { class: "ribbon", "aria-hidden": "true" }, (writers ?? []).map((writer) => {
    const part = h("i");
    part.style.background = teacherColour(writer);
    return part;
  }));
}

/** Puts the rows in sight into the page. */
function drawRows() {
  const [list, rows] = [byId("list"), byId("rows")];
  rows.style.height = `${listed.length * ROW}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
  const last = Math.min(listed.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
  rows.replaceChildren(...listed.slice(first, last).map((problem, at) => {
    const line = collection().problems[problem];
    const entry = entryOf(choice.arm, problem);
    const comparing = choice.other >= 0;
    const chips = comparing ? briefChips : stateChips;
    const other = comparing ? chips(entryOf(choice.other, problem)) : [];
    const score = entry?.score !== undefined && !comparing && h("span", { class: "soft number" }, entry.score.toFixed(3));
    const row = h("div", {
      class: "row", role: "option", id: `row-${problem}`, "aria-selected": String(problem === choice.problem),
      "aria-posinset": first + at + 1, "aria-setsize": listed.length, onclick: () => open(problem),
    },
    h("span", { class: "name" }, line.id),
    h("span", { class: "verdicts" }, score, chips(entry), other.length > 0 && h("span", { class: "soft" }, "·"), other),
    h("span", { class: "says", dir: "auto" }, brief(line.question, 120)),
    ribbon(entry?.writers));
    row.style.top = `${(first + at) * ROW}px`;
    return row;
  }));
  const active = byId(`row-${choice.problem}`);
  active ? list.setAttribute("aria-activedescendant", active.id) : list.removeAttribute("aria-activedescendant");
}

/** Brings the chosen problem's row into sight. */
function reveal() {
  const at = listed.indexOf(choice.problem);
  const list = byId("list");
  if (at < 0 || !list.clientHeight) return;
  if (at * ROW < list.scrollTop) list.scrollTop = at * ROW;
  else if ((at + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (at + 1) * ROW - list.clientHeight;
  drawRows();
}

/** Goes `by` problems on in the list. */
function step(by) {
  if (!listed.length) return;
  const at = listed.indexOf(choice.problem);
  const next = at < 0 ? (by > 0 ? 0 : listed.length - 1) : Math.min(listed.length - 1, Math.max(0, at + by));
  open(listed[next]);
}
