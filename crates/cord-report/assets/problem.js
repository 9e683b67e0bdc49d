// A problem: what was asked, what an arm made of it, step by step; and another arm beside it.

/** What is open in each side: the trajectory, and whether all candidates are shown. */
let sides = [];
let showsAll = true;
// The side, column and candidate that keys act on.
let here = { side: 0, column: -1, row: 0 };
let asked = 0;

/** Opens a problem of the list. */
function open(problem) {
  choice.problem = problem;
  go(address());
}

async function showProblem() {
  const detail = byId("detail");
  byId("problems").classList.toggle("reading", choice.problem >= 0);
  const mine = ++asked;
  sides = [];
  here = { side: 0, column: -1, row: 0 };
  if (choice.problem < 0) {
    return detail.replaceChildren(h("div", { class: "empty" }, h("p", {}, "Choose a problem to see its trajectories: who proposed what at each step, how it was scored, and what was kept."), h("p", {}, h("kbd", {}, "j"), " and ", h("kbd", {}, "k"), " go through the list, ", h("kbd", {}, "?"), " shows all keys.")));
  }
  const [set, problem] = [choice.set, choice.problem];
  const arms = [choice.arm, choice.other].filter((arm) => arm >= 0);
  let found;
  try {
    found = await Promise.all(arms.map((arm) => (entryOf(arm, problem) ? problemPage(set, arm, problem) : null)));
  } catch (error) {
    if (mine === asked) failed(error);
    return;
  }
  // The reader may have gone on.
  if (mine !== asked) return;
  const line = collection().problems[problem];
  const page = found.find(Boolean);
  sides = arms.map((arm, at) => ({ arm, page: found[at], entry: entryOf(arm, problem), trajectory: 0, root: h("section", { class: "side" }) }));
  detail.replaceChildren(
    h("button", { type: "button", class: "back", onclick: () => open(-1) }, "← problems"),
    h("header", {},
      h("h1", {}, line.id),
      h("div", { class: "question", dir: "auto", tabindex: "0", role: "region", "aria-label": "question" }, page?.question ?? line.question),
      h("dl", { class: "given" },
        h("div", {}, h("dt", {}, "gold answer"), h("dd", { class: "mono" }, h("bdi", {}, page?.answer ?? line.answer))),
        metadata(page?.metadata))),
    h("div", { class: sides.length > 1 ? "sides two" : "sides" }, sides.map((side) => side.root)));
  const names = sides.flatMap((side) => side.page?.candidates ?? []).map((candidate) => run.teachers[candidate.teacher].length);
  detail.style.setProperty("--who", `${clamp(Math.max(4, ...new Set(names)), [4, 18]) + 4}ch`);
  sides.forEach(showSide);
  detail.scrollTop = 0;
}

function metadata(given = {}) {
  return Object.entries(given).map(([key, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return h("div", {}, h("dt", {}, key), h("dd", {}, h("bdi", {}, brief(text, 120))));
  });
}

function showSide(side) {
  const arm = armOf(side.arm);
  const heading = h("h2", {}, arm.label, h("small", {}, arm.note));
  if (!side.entry) return side.root.replaceChildren(heading, h("p", { class: "soft" }, "This arm has not worked on this problem."));
  if (side.entry.failed) return side.root.replaceChildren(heading, h("p", {}, chip("failed"), " ", side.entry.failed));
  if (!side.page) return side.root.replaceChildren(heading, h("p", { class: "warning" }, "This file leaves the problem out for its size. cord view of the run's folder shows it."));
  if (arm.kind === "samples") return side.root.replaceChildren(heading, ...side.page.samples.map(sampleCard));
  const trajectory = side.page.trajectories[side.trajectory];
  side.path = new Set(trajectory?.path ?? []);
  side.columns = byDepth(side.page, side.path);
  const room = side.root.clientWidth || byId("detail").clientWidth / sides.length;
  side.tree = drawTree(side.page, side.columns, side.path, room - 32, (candidate) => visit(side, candidate, true));
  side.cards = new Map();
  side.root.replaceChildren(...[heading, tabs(side), facts(side, trajectory), side.tree, allButton(side), ...side.columns.map((column) => stepSection(side, column))].filter(Boolean));
  markHere();
}

const ordinal = (index) => (index === 0 ? "best" : `no. ${index + 1}`);

function tabs(side) {
  if (side.page.trajectories.length < 2) return null;
  return h("div", { class: "tabs", role: "group", "aria-label": "trajectories" }, side.page.trajectories.map((trajectory, index) => h("button", {
    type: "button", "aria-pressed": String(index === side.trajectory), onclick: () => chooseTrajectory(side, index),
  }, ordinal(index), trajectory.score !== null && h("span", { class: "soft" }, trajectory.score.toFixed(3)), chip(trajectory.state))));
}

function chooseTrajectory(side, index) {
  side.trajectory = index;
  here = { side: sides.indexOf(side), column: -1, row: 0 };
  showSide(side);
}

function facts(side, trajectory) {
  if (!trajectory) return h("p", { class: "warning" }, "The search ended without a trajectory.");
  const steps = side.columns.filter((column) => column.depth !== Infinity).length;
  const one = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", { class: "number" }, value));
  return h("dl", { class: "given" },
    h("div", {}, chip(trajectory.state)),
    one("answer", trajectory.given === null ? "none that could be read" : h("bdi", { class: "mono" }, brief(trajectory.given, 120))),
    trajectory.score !== null && one("score", trajectory.score.toFixed(3)),
    trajectory.firstWrongStep !== undefined && one("first wrong step", String(trajectory.firstWrongStep + 1)),
    one("search", steps > 1 ? `${plural(steps, "step")}, ` : "", plural(side.page.candidates.length, "candidate"), `, ${count(side.entry.tokens)} tokens`));
}

function allButton(side) {
  const lost = side.page.candidates.filter((candidate) => !side.path.has(candidate.id)).length;
  if (!lost) return null;
  return h("div", { class: "tabs" }, h("button", { type: "button", "aria-pressed": String(!showsAll), onclick: toggleAll }, "Chosen path alone"));
}

function toggleAll() {
  showsAll = !showsAll;
  sides.filter((side) => side.page && armOf(side.arm).kind === "trajectories").forEach(showSide);
}

function stepSection(side, column) {
  const { depth, candidates } = column;
  column.shown = candidates.filter((candidate) => showsAll || side.path.has(candidate.id));
  if (!column.shown.length) return null;
  const kept = candidates.filter((candidate) => candidate.fate === "kept" || candidate.fate === "chosen").length;
  const single = side.columns.length < 2 || (side.columns.length === 2 && candidates[0].kind === "whole");
  const name = depth === Infinity ? "Answer" : single && candidates[0].kind === "whole" ? "Whole responses" : `Step ${depth + 1}`;
  const scores = candidates.map((candidate) => candidate.score).filter((score) => score !== undefined);
  const scale = armOf(side.arm).unitScore ? [0, 1] : [Math.min(...scores), Math.max(...scores)];
  return h("section", { class: "step" },
    h("h3", {}, name, h("small", {}, `${plural(candidates.length, "candidate")}, ${count(kept)} kept`)),
    column.shown.map((candidate) => card(side, candidate, scale)));
}

const FATES = { chosen: "chosen", kept: "kept", dropped: "dropped", duplicate: "duplicate" };

function card(side, candidate, scale) {
  const onPath = side.path.has(candidate.id);
  const lost = isLost(candidate, side.path);
  const fate = onPath ? chip("done", "chosen") : chip(candidate.fate, FATES[candidate.fate === "chosen" ? "kept" : candidate.fate]);
  const body = h("div", { class: "body", id: `body-${side.arm}-${candidate.id}`, hidden: true });
  const button = h("button", { type: "button", "aria-expanded": "false", "aria-controls": body.id, onclick: () => visit(side, candidate) },
    h("span", { class: "who" }, dot(candidate.teacher), run.teachers[candidate.teacher]),
    scoreBar(candidate, scale),
    fate,
    h("span", { class: "peek", dir: "auto" }, brief(candidate.text)),
    h("span", { class: "cost" }, `${count(candidate.cost[1])} tokens`));
  const root = h("article", { class: `card${lost ? " lost" : ""}${onPath ? " path" : ""}` }, button, body);
  root.style.borderLeftColor = teacherColour(candidate.teacher);
  side.cards.set(candidate.id, { root, button, body, candidate });
  if (onPath) expand(side, candidate, true);
  return root;
}

function scoreBar(candidate, [low, high]) {
  if (candidate.score === undefined) return h("span", { class: "score soft" }, candidate.kind === "answer" ? "" : "not scored");
  const share = Math.min(1, Math.max(0, (candidate.score - low) / (high - low || 1)));
  const bar = h("i");
  bar.style.width = `${(100 * share).toFixed(1)}%`;
  bar.style.background = teacherColour(candidate.teacher);
  const digits = Math.abs(candidate.score) < 100 ? candidate.score.toFixed(3) : String(Math.round(candidate.score));
  return h("span", { class: "score" }, h("span", { class: "track", "aria-hidden": "true" }, bar), h("span", { class: "digits" }, digits));
}

const FINISHES = { eos: "ended its turn", delimiter: "ended its step", length: "cut off by the budget" };

/** Opens or closes a candidate's text. The text enters the page only when it is opened. */
function expand(side, candidate, isOpen) {
  const { root, button, body } = side.cards.get(candidate.id);
  root.classList.toggle("open", isOpen);
  button.setAttribute("aria-expanded", String(isOpen));
  body.hidden = !isOpen;
  if (!isOpen || body.firstChild) return;
  const [prompt, generated, scored] = candidate.cost;
  const details = [
    `candidate ${candidate.id}`, candidate.parent !== undefined && `continues candidate ${candidate.parent}`,
    candidate.rank !== undefined && `rank ${candidate.rank + 1}`, FINISHES[candidate.finish],
    `prompt ${count(prompt)}, generated ${count(generated)}, scored ${count(scored)} tokens`,
  ];
  body.append(
    h("pre", { dir: "auto" }, candidate.text),
    ...cutNote(candidate.cut),
    h("p", { class: "details" }, details.filter(Boolean).map((text) => h("span", {}, text))));
}

const cutNote = (cut) => (cut ? [h("p", { class: "more" }, `${plural(cut, "more character")} left out of this file`)] : []);

/** Goes to a candidate; toggles it, or opens it where `opens` says so. */
function visit(side, candidate, opens = false) {
  if (!side.cards.has(candidate.id)) {
    showsAll = true;
    showSide(side);
  }
  const known = side.cards.get(candidate.id);
  expand(side, candidate, opens || !known.root.classList.contains("open"));
  const column = side.columns.findIndex((one) => one.shown.includes(candidate));
  here = { side: sides.indexOf(side), column, row: side.columns[column].shown.indexOf(candidate) };
  markHere();
  if (opens) focusHere();
}

function markHere() {
  for (const side of sides) side.tree?.querySelectorAll(".here").forEach((node) => node.classList.remove("here"));
  const candidate = atHere();
  const node = candidate && sides[here.side].tree?.querySelector(`[data-node="${candidate.id}"]`);
  if (!node) return;
  node.classList.add("here");
  // A long search is wider than its frame.
  const view = node.closest(".view");
  const at = Number(node.getAttribute("cx"));
  if (at < view.scrollLeft + 40 || at > view.scrollLeft + view.clientWidth - 40) view.scrollTo({ left: at - view.clientWidth / 2, behavior: smooth() });
}

const atHere = () => sides[here.side]?.columns?.[here.column]?.shown?.[here.row] ?? null;

function focusHere() {
  const candidate = atHere();
  if (!candidate) return;
  const { button, root } = sides[here.side].cards.get(candidate.id);
  button.focus({ preventScroll: true });
  root.scrollIntoView({ block: root.offsetHeight > innerHeight * 0.7 ? "start" : "nearest", behavior: smooth() });
  markHere();
}

/** Moves by columns (steps) or by rows (candidates of a step). */
function move(columns, rows) {
  const side = sides[here.side];
  if (!side?.columns) return;
  const filled = side.columns.map((column, at) => [column, at]).filter(([column]) => column.shown.length);
  if (!filled.length) return;
  const place = filled.findIndex(([, at]) => at === here.column);
  if (columns || place < 0) {
    const next = place < 0 ? 0 : Math.min(filled.length - 1, Math.max(0, place + columns));
    const [column, at] = filled[next];
    here = { ...here, column: at, row: Math.max(0, column.shown.findIndex((candidate) => side.path.has(candidate.id))) };
  } else {
    here.row = Math.min(side.columns[here.column].shown.length - 1, Math.max(0, here.row + rows));
  }
  focusHere();
}

function nextTrajectory() {
  for (const side of sides) {
    const number = side.page?.trajectories?.length ?? 0;
    if (number > 1) chooseTrajectory(side, (side.trajectory + 1) % number);
  }
}

function sampleCard(sample, index) {
  const close = sample.text.indexOf("</think>");
  const [reasoning, answer] = close < 0 ? [sample.text, ""] : [sample.text.slice(0, close), sample.text.slice(close + 8)];
  const details = [`prompt ${count(sample.cost[0])}, generated ${count(sample.cost[1])} tokens`, ...Object.entries(sample.marks ?? {}).map(([name, value]) => `${name} ${value.toFixed(3)}`)];
  return h("section", { class: "step" },
    h("h3", {}, `Sample ${index + 1}`, chip(sample.state), sample.reason && h("small", {}, sample.reason), h("small", {}, sample.given === null ? "no answer could be read" : "answer "), sample.given !== null && h("bdi", { class: "mono" }, brief(sample.given, 120))),
    h("article", { class: "card path open" }, h("div", { class: "body" },
      h("pre", { dir: "auto" }, reasoning, close >= 0 && h("span", { class: "soft" }, "</think>"), answer),
      cutNote(sample.cut),
      h("p", { class: "details" }, details.map((text) => h("span", {}, text))))));
}
