// The keyboard. No key acts while something is being typed, and none with a modifier: those are the browser's.

function onKey(event) {
  const dialog = byId("keys");
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape" && !dialog.open) return escape(typing);
  if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  if (typing) {
    if (event.key === "Enter" && typing.id === "search") {
      event.preventDefault();
      typing.blur();
      step(listed.includes(choice.problem) ? 0 : 1);
    }
    return;
  }
  const exploring = !byId("problems").hidden;
  const inList = event.target.id === "list";
  const always = {
    "?": () => dialog.showModal(), d: turnTheme, 1: () => go("#/results"), 2: () => go(address()),
    "/": () => {
      if (!exploring) go(address());
      byId("problems").classList.remove("reading");
      byId("search").focus();
      byId("search").select();
    },
  };
  const within = {
    j: () => step(1), k: () => step(-1), a: toggleAll, t: nextTrajectory,
    ArrowRight: () => move(1, 0), ArrowLeft: () => move(-1, 0),
    ArrowDown: () => (inList ? step(1) : move(0, 1)), ArrowUp: () => (inList ? step(-1) : move(0, -1)),
  };
  const inListOnly = { Home: () => step(-Infinity), End: () => step(Infinity), PageDown: () => step(8), PageUp: () => step(-8), Enter: () => byId("detail").querySelector("button, [tabindex]")?.focus() };
  const act = always[event.key] ?? (exploring ? within[event.key] ?? (inList ? inListOnly[event.key] : null) : null);
  if (!act) return;
  // Arrows scroll a drawing or a question that has the focus.
  if (event.key.startsWith("Arrow") && event.target.closest?.(".view, .scroll, .question")) return;
  event.preventDefault();
  act();
}

function escape(typing) {
  if (typing?.id === "search" && typing.value) {
    choice.search = "";
    return applied();
  }
  if (typing) return typing.blur();
  if (choice.problem >= 0 && byId("browse").offsetParent === null) return open(-1);
  byId("list").focus();
}

const THEMES = { light: "☀", dark: "☾" };
const systemTheme = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const theme = () => document.documentElement.dataset.theme ?? systemTheme();

function turnTheme() {
  const next = theme() === "dark" ? "light" : "dark";
  // The system's own choice needs no mark, and follows the system again.
  if (next === systemTheme()) delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  remember("theme", document.documentElement.dataset.theme ?? "");
  showTheme();
}

function showTheme() {
  byId("theme").replaceChildren(THEMES[theme()]);
  byId("theme").setAttribute("aria-label", `now ${theme()}; change to ${theme() === "dark" ? "light" : "dark"}`);
}

// A browser may keep nothing for a file, or refuse to.
function remember(key, value) {
  try {
    localStorage.setItem(`cord-${key}`, value);
  } catch { /* then the choice lasts as long as the page */ }
}

function remembered(key) {
  try {
    return localStorage.getItem(`cord-${key}`) || null;
  } catch {
    return null;
  }
}
