// Elements. Text only ever enters the page as text nodes.

const byId = (id) => document.getElementById(id);

/** An element: `h("td", { class: "text" }, "a", child)`. `on…` are listeners, other keys attributes; false and null leave one out. */
function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for a drawing's elements. */
function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  const isDrawing = element instanceof SVGElement;
  const given = children.flat(2).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...given.flatMap((child) => (child instanceof Node ? child : isDrawing ? plain(String(child)) : shown(String(child)))));
  return element;
}

// What would act without being seen: control characters, and marks that turn the direction of what stands around them. A
// line break of another system is a line break.
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\r(?!\n)/gu;

const nameOf = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

/** A text whose unseen characters are named, where there can be no elements. */
const plain = (text) => text.replace(UNSEEN, nameOf);

/** Any text as nodes; what can't be seen is named. */
function shown(text) {
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(UNSEEN)) {
    // A text of nothing else would be as many elements.
    if (nodes.length > 4000) break;
    nodes.push(document.createTextNode(text.slice(from, found.index)));
    nodes.push(h("span", { class: "ctl", title: "a character that can't be seen" }, nameOf(found[0])));
    from = found.index + found[0].length;
  }
  nodes.push(document.createTextNode(plain(text.slice(from))));
  return nodes;
}

/** A text on one line, at most `most` characters, without what can't be seen. */
function brief(text, most = 200) {
  const short = text.length > 4 * most ? text.slice(0, 4 * most) : text;
  const line = short.replace(UNSEEN, " ").replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most)}…` : line;
}

const whole = new Intl.NumberFormat("en");
const count = (number) => whole.format(number);
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** What a state is called. */
const STATES = {
  right: "right", wrong: "wrong", truncated: "truncated", unclosed: "unclosed", unparsed: "unparsed",
  "out-of-fuel": "out of fuel", failed: "failed", absent: "not there",
};

const chip = (state, text = STATES[state]) => h("span", { class: `chip ${state}` }, text);

/** Chips for the states of several responses: one by name, several by their counts. */
function stateChips(entry) {
  if (!entry) return [chip("absent", "–")];
  if (entry.failed) return [chip("failed")];
  if (!entry.states.length) return [chip("absent", "none")];
  if (entry.states.length === 1) return [chip(entry.states[0])];
  const counts = new Map();
  for (const state of entry.states) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, number]) => chip(state, `${number} ${STATES[state]}`));
}

/** The same in one chip: how many of several are right. */
function briefChips(entry) {
  if (!entry || entry.failed || entry.states.length < 2) return stateChips(entry);
  const right = entry.states.filter((state) => state === "right").length;
  const word = right === entry.states.length ? "right" : right ? "some" : "wrong";
  return [chip(word, `${right} of ${entry.states.length}`)];
}

const smooth = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");
