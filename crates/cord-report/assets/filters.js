// What the reader chose: a collection, an arm, another to compare with, an order, filters, a problem. All of it is in the
// address, so that a view can be sent to someone.

const FIRST = { set: 0, arm: 0, other: -1, order: "name", search: "", states: new Set(), writers: new Set(), problem: -1 };
let choice = { ...FIRST };

const collection = () => run.collections[choice.set];
const armOf = (index) => collection()?.arms[index];
const entryOf = (arm, problem) => armOf(arm)?.entries[problem] ?? null;

const ORDERS = {
  name: "by name", score: "lowest score first", tokens: "most tokens first", steps: "most steps first",
};

/** The pairs of states that a comparison is filtered by. */
const PAIRS = {
  "only-first": "only the first is right", "only-second": "only the second is right", "both-right": "both right", neither: "neither right",
};

function stateOf(entry) {
  if (!entry) return "absent";
  if (entry.failed) return "failed";
  return entry.states[0] ?? "absent";
}

/** Every state that an entry has: a filter shows a problem that has the state in any of its responses. */
const statesOf = (entry) => (entry && !entry.failed && entry.states.length ? new Set(entry.states) : new Set([stateOf(entry)]));

const isRight = (entry) => Boolean(entry) && !entry.failed && 2 * entry.states.filter((state) => state === "right").length > entry.states.length;
const rightAtBest = (arm, entry) => (arm.kind === "trajectories" ? stateOf(entry) === "right" : isRight(entry));

function pairOf(problem) {
  const [first, second] = [choice.arm, choice.other].map((arm) => rightAtBest(armOf(arm), entryOf(arm, problem)));
  if (first && second) return "both-right";
  if (first) return "only-first";
  return second ? "only-second" : "neither";
}

/** The problems that pass every filter but those in `without`, in the chosen order. */
function chosenProblems(without = null) {
  const set = collection();
  const words = choice.search.toLowerCase().split(/\s+/).filter(Boolean);
  const passes = (problem) => {
    const entry = entryOf(choice.arm, problem);
    if (!entry && choice.other < 0) return false;
    if (without !== "states" && choice.states.size) {
      const mine = choice.other >= 0 ? new Set([...statesOf(entry), pairOf(problem)]) : statesOf(entry);
      if (![...choice.states].some((state) => mine.has(state))) return false;
    }
    if (without !== "writers" && choice.writers.size && ![...choice.writers].every((writer) => entry?.writers?.includes(writer))) return false;
    const line = set.problems[problem];
    return words.every((word) => `${line.id} ${line.question} ${line.answer}`.toLowerCase().includes(word));
  };
  const found = set.problems.map((_, problem) => problem).filter(passes);
  const by = {
    score: (entry) => entry?.score ?? Infinity,
    tokens: (entry) => -(entry?.tokens ?? 0),
    steps: (entry) => -(entry?.writers?.length ?? 0),
  }[choice.order];
  if (by) found.sort((a, b) => by(entryOf(choice.arm, a)) - by(entryOf(choice.arm, b)) || a - b);
  return found;
}

// The address: `#/problems?set=mini/train&arm=cord&with=curation&p=mini-train-0001`.

function address() {
  const set = collection();
  const parts = new URLSearchParams();
  if (set) {
    parts.set("set", set.name);
    if (armOf(choice.arm)) parts.set("arm", armOf(choice.arm).label);
    if (armOf(choice.other)) parts.set("with", armOf(choice.other).label);
    if (choice.order !== "name") parts.set("order", choice.order);
    if (choice.search) parts.set("search", choice.search);
    if (choice.states.size) parts.set("states", [...choice.states].join(","));
    if (choice.writers.size) parts.set("writers", [...choice.writers].map((writer) => run.teachers[writer]).join(","));
    if (choice.problem >= 0) parts.set("p", set.problems[choice.problem].id);
  }
  return `#/problems?${parts}`;
}

function readAddress(text) {
  const parts = new URLSearchParams(text);
  const place = (list, name, key) => list.findIndex((one) => one[key] === parts.get(name));
  const set = Math.max(0, place(run.collections, "set", "name"));
  const arms = run.collections[set]?.arms ?? [];
  choice = {
    set,
    arm: Math.max(0, place(arms, "arm", "label")),
    other: parts.has("with") ? place(arms, "with", "label") : -1,
    order: Object.hasOwn(ORDERS, parts.get("order") ?? "") ? parts.get("order") : "name",
    search: parts.get("search") ?? "",
    states: new Set((parts.get("states") ?? "").split(",").filter(Boolean)),
    writers: new Set((parts.get("writers") ?? "").split(",").map((name) => run.teachers.indexOf(name)).filter((writer) => writer >= 0)),
    problem: parts.has("p") ? place(run.collections[set]?.problems ?? [], "p", "id") : -1,
  };
  if (choice.other === choice.arm) choice.other = -1;
}
