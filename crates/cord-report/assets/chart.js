// Line charts as SVG, readable with a pointer: the values at its place stand beside the heading.

const SIZE = { width: 420, height: 220, left: 44, right: 10, top: 8, bottom: 34 };

/** Round steps between two values. */
function ticks(low, high, wanted = 5) {
  const span = high - low || 1;
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}

function tidy(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  if (size < 1e-3) return value.toExponential(1).replace("e-", "e−");
  return String(+value.toPrecision(3));
}

/**
 * A figure of lines. `lines` have a `name`, a `colour`, `points` of [x, y], and may have a `band` of [x, low, high], `raw`
 * points behind a smoothed line, or be `dashed`. `read(x)` names a place for the reader.
 */
function chart({ title, lines, x, y, range, xTicks, place, unit = tidy }) {
  const drawn = lines.filter((line) => line.points.length);
  const all = drawn.flatMap((line) => line.points);
  const xs = range?.x ?? extent(all.map((point) => point[0]));
  const ys = range?.y ?? extent(drawn.flatMap((line) => line.points.map((point) => point[1])), true);
  const { width, height, left, right, top, bottom } = SIZE;
  const atX = (value) => left + ((value - xs[0]) / (xs[1] - xs[0] || 1)) * (width - left - right);
  const atY = (value) => height - bottom - ((clamp(value, ys) - ys[0]) / (ys[1] - ys[0] || 1)) * (height - top - bottom);
  const path = (points) => points.map((point, at) => `${at ? "L" : "M"}${atX(point[0]).toFixed(1)} ${atY(point[1]).toFixed(1)}`).join("");
  const root = s("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": described(title, drawn, unit) });
  for (const at of ticks(...ys, 4)) {
    root.append(s("line", { class: "grid", x1: left, x2: width - right, y1: atY(at), y2: atY(at) }));
    root.append(s("text", { x: left - 7, y: atY(at) + 4, "text-anchor": "end" }, unit(at)));
  }
  for (const at of xTicks ?? ticks(...xs, 5)) {
    root.append(s("text", { x: atX(at), y: height - bottom + 16, "text-anchor": "middle" }, tidy(at)));
  }
  root.append(s("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  root.append(s("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, x));
  for (const line of drawn) {
    if (line.band) {
      const edge = [...line.band.map(([at, low]) => [at, low]), ...line.band.map(([at, , high]) => [at, high]).reverse()];
      root.append(s("path", { class: "band", d: `${path(edge)}Z`, fill: line.colour }));
    }
    if (line.raw) root.append(s("path", { class: "raw", d: path(line.raw), stroke: line.colour }));
    const dashes = line.dashed ? "5 4" : null;
    root.append(s("path", { class: "line", d: path(line.points), stroke: line.colour, "stroke-dasharray": dashes }));
  }
  const cross = s("line", { class: "cross", y1: top, y2: height - bottom, visibility: "hidden" });
  root.append(cross);
  const says = h("span", { class: "read" }, y);
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    const value = xs[0] + (((event.clientX - box.left) / box.width) * width - left) / (width - left - right) * (xs[1] - xs[0]);
    if (!all.length || value < xs[0] || value > xs[1]) return leave();
    const near = drawn.map((line) => [line, nearest(line.points, value)]);
    const at = near.map(([, point]) => point[0]).reduce((best, one) => (Math.abs(one - value) < Math.abs(best - value) ? one : best));
    cross.setAttribute("x1", atX(at));
    cross.setAttribute("x2", atX(at));
    cross.setAttribute("visibility", "visible");
    says.replaceChildren(...shown(`${place(at)}: ${near.map(([line, point]) => `${line.name} ${unit(point[1])}`).join(", ")}`));
  });
  const leave = () => {
    cross.setAttribute("visibility", "hidden");
    says.replaceChildren(y);
  };
  root.addEventListener("pointerleave", leave);
  return h("figure", { class: "panel" }, h("figcaption", {}, h("span", {}, title), says), root);
}

const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));

function extent(values, padded = false) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!Number.isFinite(low)) return [0, 1];
  const room = padded ? (high - low || Math.abs(high) || 1) * 0.06 : 0;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

function nearest(points, value) {
  let [low, high] = [0, points.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < value) low = middle;
    else high = middle;
  }
  return Math.abs(points[low][0] - value) <= Math.abs(points[high][0] - value) ? points[low] : points[high];
}

/** A chart in words, for who can't see it. */
function described(title, lines, unit) {
  const says = lines.map((line) => `${line.name} from ${unit(line.points[0][1])} to ${unit(line.points.at(-1)[1])}`);
  return `${title}: ${says.join("; ")}`;
}

/** A running mean, and at most `most` points of it. */
function smoothed(points, share = 0.12, most = 400) {
  let mean = null;
  const all = points.map(([x, y]) => [x, (mean = mean === null ? y : mean + share * (y - mean))]);
  return thinned(all, most);
}

function thinned(points, most = 400) {
  if (points.length <= most) return points;
  const step = points.length / most;
  const found = [];
  for (let at = 0; at < points.length; at += step) found.push(points[Math.floor(at)]);
  found.push(points.at(-1));
  return found;
}
