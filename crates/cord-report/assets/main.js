// From the address to what is shown.

function go(to) {
  if (location.hash === to) return route();
  location.hash = to;
}

/** The filters have changed: the list follows, the address too, the open problem stays. */
function applied() {
  history.replaceState(null, "", address());
  byId("list").scrollTop = 0;
  showList();
  reveal();
}

/** The arm or the collection has changed: all follows. */
function rechosen() {
  history.replaceState(null, "", address());
  byId("list").scrollTop = 0;
  showList();
  reveal();
  showProblem();
}

let shownAddress = null;

function route() {
  const [view, query = ""] = location.hash.slice(2).split("?");
  const exploring = view === "problems";
  byId("results").hidden = exploring;
  byId("problems").hidden = !exploring;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    link.dataset.view === (exploring ? "problems" : "results") ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  if (!exploring) return;
  // Back from the results: as it was left.
  if (query || !shownAddress) readAddress(query);
  shownAddress = location.hash;
  showList();
  reveal();
  showProblem();
}

function failed(error) {
  if (error instanceof Changed) return begin();
  const status = byId("status");
  status.classList.add("error");
  status.hidden = false;
  status.replaceChildren(...shown(`This can't be shown: ${error.message}`));
}

async function begin() {
  if (isStatic && typeof DecompressionStream === "undefined") {
    return failed(new Error("the browser lacks DecompressionStream; open the file in one of 2023 or later"));
  }
  try {
    run = null;
    pages.clear();
    run = await read("overview");
  } catch (error) {
    return failed(error);
  }
  byId("more").hidden = true;
  byId("status").hidden = true;
  byId("status").classList.remove("error");
  byId("title").replaceChildren(...shown(run.title));
  document.title = `${plain(run.title)} · cord`;
  showResults();
  shownAddress = null;
  route();
}

const WAIT = 5000;

/** Of a run that is not finished: says when there is more. What the reader looks at stays until then. */
async function watch() {
  const unfinished = run?.runs.some((one) => one.stages.some((stage) => stage.state !== "done"));
  if (!unfinished || document.hidden || !byId("more").hidden) return;
  try {
    const now = await (await fetch("/version.json", { cache: "no-store" })).json();
    byId("more").hidden = now.version === run.version;
  } catch { /* the server has ended: what is shown stays */ }
}

function listen() {
  const chosen = (id, change) => byId(id).addEventListener("change", (event) => change(event.target.value));
  chosen("collection", (value) => {
    choice = { ...FIRST, states: new Set(), writers: new Set(), set: Number(value) };
    rechosen();
  });
  chosen("arm", (value) => {
    choice.arm = Number(value);
    if (choice.other === choice.arm) choice.other = -1;
    if (armOf(choice.arm).kind === "samples" && choice.order !== "tokens") choice.order = "name";
    rechosen();
  });
  chosen("other", (value) => {
    choice.other = Number(value);
    for (const pair of Object.keys(PAIRS)) choice.states.delete(pair);
    rechosen();
  });
  chosen("order", (value) => {
    choice.order = value;
    applied();
  });
  byId("search").addEventListener("input", (event) => {
    choice.search = event.target.value;
    applied();
  });
  byId("list").addEventListener("scroll", drawRows, { passive: true });
  addEventListener("resize", drawRows);
  addEventListener("hashchange", route);
  addEventListener("keydown", onKey);
  byId("help").addEventListener("click", () => byId("keys").showModal());
  byId("theme").addEventListener("click", turnTheme);
  byId("more").addEventListener("click", begin);
  if (!isStatic) setInterval(watch, WAIT);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
}

const kept = remembered("theme");
if (kept) document.documentElement.dataset.theme = kept;
showTheme();
listen();
begin();
