// Where data comes from: the server, or the blocks of this file.

const isStatic = document.documentElement.dataset.source === "static";

/** The overview, once it is there. */
let run = null;

class Changed extends Error {}

/** Reads a block of data by its name. */
async function read(name) {
  if (isStatic) {
    const block = byId(name);
    if (!block) return null;
    return JSON.parse(await unpacked(block.textContent));
  }
  const version = run ? `?version=${encodeURIComponent(run.version)}` : "";
  const reply = await fetch(`/${name}.json${version}`, { cache: "no-store" });
  if (reply.status === 409) throw new Changed("the run has changed");
  if (!reply.ok) throw new Error(await reply.text());
  return reply.json();
}

/** zlib in base64, to text. */
async function unpacked(block) {
  const raw = atob(block);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

// The last few problems: going back and forth costs nothing.
const KEPT = 24;
const pages = new Map();

/** What an arm made of a problem; null where a static file leaves it out. */
function problemPage(collection, arm, problem) {
  const name = `problem-${collection}-${arm}-${problem}`;
  const known = pages.get(name);
  if (known) {
    pages.delete(name);
    pages.set(name, known);
    return known;
  }
  const asked = read(name);
  pages.set(name, asked);
  asked.catch(() => pages.delete(name));
  if (pages.size > KEPT) pages.delete(pages.keys().next().value);
  return asked;
}

const teacherColour = (teacher) => run.palette[teacher % run.palette.length];
const dot = (teacher) => {
  const mark = h("span", { class: "dot", "aria-hidden": "true" });
  mark.style.background = teacherColour(teacher);
  return mark;
};
