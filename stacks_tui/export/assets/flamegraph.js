"use strict";
// Draws the trees in #data (see flamegraph.py). Nodes are in preorder; what is below node i is i + 1 … end[i] - 1.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const canvas = $("canvas"), view = $("view"), tip = $("tip"), draw2d = canvas.getContext("2d");
  const ALL = 0, REST = 1, FIRST = 2;
  const { frames, kinds, modules, files, types } = data;
  const compared = data.compared !== null;
  const coarse = matchMedia("(pointer: coarse)").matches;
  const ROW = coarse ? 26 : 18;

  // ---- trees

  class Tree {
    constructor(raw) {
      const n = raw.frame.length;
      this.n = n;
      this.frame = Int32Array.from(raw.frame);
      this.depth = Int32Array.from(raw.depth);
      this.parent = new Int32Array(n).fill(-1);
      this.end = new Int32Array(n);
      this.raw = raw;
      const path = [];
      for (let i = 0; i < n; i++) {
        while (path.length > this.depth[i]) this.end[path.pop()] = i;
        if (path.length) this.parent[i] = path[path.length - 1];
        path.push(i);
      }
      while (path.length) this.end[path.pop()] = n;
      this.inside = new Map();
      let at = 0;
      for (let i = 0; i < n; i++) if (this.frame[i] === REST) this.inside.set(i, raw.inside[at++]);
      this.x = new Float64Array(n);
    }
    below(own) {
      const sums = Float64Array.from(own);
      for (let i = this.n - 1; i > 0; i--) sums[this.parent[i]] += sums[i];
      return sums;
    }
    // Sums of one type; a width is the larger of both sides, so that what is gone is seen too.
    measure(type, relative) {
      const own = this.raw.own[type], was = compared ? this.raw.before[type] : null;
      this.own = own;
      this.now = this.below(own);
      this.was = was ? this.below(was) : null;
      const a = relative ? Math.abs(this.now[0]) || 1 : 1, b = relative && was ? Math.abs(this.was[0]) || 1 : 1;
      const wide = new Float64Array(this.n);
      for (let i = 0; i < this.n; i++) wide[i] = Math.max(Math.abs(own[i]) / a, was ? Math.abs(was[i]) / b : 0);
      this.ownWidth = wide;
      this.width = this.below(wide);
      this.scales = [a, b];
      this.negative = own.some((one) => one < 0) || (was !== null && was.some((one) => one < 0));
    }
    arrange(bySize) {
      const { n, end, width, x, frame } = this;
      for (let i = 0; i < n; i++) {
        let left = x[i];
        if (!bySize) {
          for (let c = i + 1; c < end[i]; c = end[c]) if (frame[c] !== REST) { x[c] = left; left += width[c]; }
          if (i + 1 < end[i] && frame[i + 1] === REST) x[i + 1] = left;
          continue;
        }
        const children = [];
        for (let c = i + 1; c < end[i]; c = end[c]) children.push(c);
        if (children.length > 1) children.sort((p, q) => (frame[p] === REST) - (frame[q] === REST) || width[q] - width[p] || p - q);
        for (const c of children) { x[c] = left; left += width[c]; }
      }
    }
    children(i) {
      const found = [];
      for (let c = i + 1; c < this.end[i]; c = this.end[c]) if (this.width[c] > 0) found.push(c);
      return found.sort((p, q) => this.x[p] - this.x[q]);
    }
    path(i) {
      const found = [];
      for (; i >= 0; i = this.parent[i]) found.unshift(i);
      return found;
    }
  }
  const trees = { down: new Tree(data.trees.down), up: new Tree(data.trees.up) };
  delete data.trees;

  // ---- state

  const state = { type: data.main, relative: false, bySize: true, up: false, colour: compared ? "change" : "module", search: "" };
  let tree = trees.down, zoom = 0, chosen = 0, hover = -1, matched = null, share = 0, sought = null;

  // ---- words

  const grouped = (n) => (Number.isInteger(n) ? n.toLocaleString("en-US") : String(n));
  const three = (n) => (Math.abs(n) < 9.995 ? n.toFixed(2) : Math.abs(n) < 99.95 ? n.toFixed(1) : n.toFixed(0));
  function short(n, unit) {
    const seconds = Math.round(Math.abs(n) / 1e9), sign = n < 0 ? "-" : "";
    if (unit === "nanoseconds" && seconds >= 3600) return `${sign}${Math.floor(seconds / 3600)}h ${String(Math.round((seconds % 3600) / 60)).padStart(2, "0")}m`;
    if (unit === "nanoseconds" && seconds >= 100) return `${sign}${Math.floor(seconds / 60)}m ${String(seconds % 60).padStart(2, "0")}s`;
    const steps = unit === "nanoseconds" ? [["s", 1e9], ["ms", 1e6], ["µs", 1e3]] : unit === "bytes" ? [["TiB", 2 ** 40], ["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 1024]] : [];
    for (const [name, one] of steps) if (Math.abs(n) >= one) return `${three(n / one)} ${name}`;
    return "";
  }
  const UNITS = { nanoseconds: "ns", bytes: "bytes", count: "" };
  function exact(n, unit) {
    const brief = short(Number(n), unit), name = unit in UNITS ? UNITS[unit] : unit;
    const digits = typeof n === "string" ? n.replace(/\B(?=(\d{3})+$)/g, ",") : grouped(n);
    return `${digits}${name && " " + name}${brief && ` (${brief})`}`;
  }
  function percent(part) {
    if (part > 0 && part < 0.0005) return "<0.1 %";
    if (part >= 0.9995 && part < 1) return ">99.9 %";
    return `${(part * 100).toFixed(1)} %`;
  }
  const signed = (n, text) => (n > 0 ? "+" : "") + text;
  function growth(was, now) {
    const more = now - was;
    const ratio = was ? ` ${signed(more, ((more / Math.abs(was)) * 100).toFixed(1))} %` : now ? " new" : "";
    return signed(more, exact(more, types[state.type].unit)) + ratio;
  }
  function name(i) {
    const f = tree.frame[i];
    if (f === ALL) return "all";
    if (f === REST) return `${grouped(tree.inside.get(i))} small stacks`;
    return frames.name[f - FIRST];
  }
  function place(i) {
    const f = tree.frame[i] - FIRST;
    if (f < 0) return "";
    const line = frames.line[f], last = frames.last[f], file = files[frames.file[f]];
    const at = file && file + (line ? `:${line}${last > line ? "–" + last : ""}` : "");
    return [kinds[frames.kind[f]], modules[frames.module[f]] || "module not known", at].filter(Boolean).join(" · ");
  }
  function facts(i) {
    const { unit } = types[state.type], out = [name(i)];
    const where = place(i);
    if (where) out.push(where);
    if (tree.frame[i] === REST) out.push(`distinct stacks, not drawn apart: each way below ${+(tree.raw.share * 100).toPrecision(2)} % of all`);
    if (compared) {
      out.push(`before ${exact(tree.was[i], unit)}`, `after  ${exact(tree.now[i], unit)}`, `change ${growth(tree.was[i], tree.now[i])}`);
      if (state.relative) out.push(`share  ${percent(tree.was[i] / tree.scales[1])} → ${percent(tree.now[i] / tree.scales[0])}`);
    } else {
      out.push(`${types[state.type].name} ${exact(tree.now[i], unit)}`);
      if (tree.negative) out.push(`gained and given back ${exact(tree.width[i], unit)}`);
      const self = tree.own[i];
      if (self && tree.frame[i] !== REST) out.push(`${state.up ? "as the outermost" : "itself"} ${exact(self, unit)}`);
    }
    const of = tree.negative ? "of all changes" : "of all";
    out.push(`${percent(tree.width[i] / (tree.width[0] || 1))} ${of}${zoom ? ` · ${percent(tree.width[i] / (tree.width[zoom] || 1))} of ${name(zoom)}` : ""}`);
    return out;
  }

  // ---- colours

  let css = {}, fills = [], changes = [];
  function read() {
    const style = getComputedStyle(root);
    for (const one of ["back", "panel", "ink", "soft", "frame-ink", "all", "rest", "user", "kernel", "python", "inlined", "unknown", "same", "rise", "fall", "found", "light", "chroma", "accent", "line"]) css[one] = style.getPropertyValue("--" + one).trim();
    const of = [css.user, css.kernel, css.python, css.inlined, css.unknown];
    fills = frames.name.map((_, f) => (state.colour === "kind" ? of[frames.kind[f]] : moduleColour(f)));
    changes = [];
    for (let step = -8; step <= 8; step++) changes.push(`color-mix(in oklab, ${step < 0 ? css.fall : css.rise} ${Math.round((Math.abs(step) / 8) * 100)}%, ${css.same})`);
    changes = changes.map(solid);
  }
  const solid = (colour) => { draw2d.fillStyle = css.same; draw2d.fillStyle = colour; return draw2d.fillStyle; };
  function moduleColour(f) {
    const module = modules[frames.module[f]];
    if (module.startsWith("[kernel")) return css.kernel;
    if (!module) return css.unknown;
    let hash = 2166136261;
    for (const char of module.slice(module.lastIndexOf("/") + 1)) hash = Math.imul(hash ^ char.codePointAt(0), 16777619);
    return solid(`oklch(${css.light} ${css.chroma} ${45 + (((hash ^ (hash >>> 13)) >>> 0) % 30) * 10.5})`);
  }
  function change(i) {
    const now = tree.now[i] / tree.scales[0], was = compared ? tree.was[i] / tree.scales[1] : 0;
    const most = compared ? Math.max(Math.abs(now), Math.abs(was)) : tree.width[i];
    return changes[8 + Math.round((most ? Math.max(-1, Math.min(1, (now - was) / most)) : 0) * 8)];
  }
  function fill(i) {
    const f = tree.frame[i];
    if (matched && f >= FIRST && matched[f - FIRST]) return css.found;
    if (f === REST) return css.rest;
    if (state.colour === "change") return change(i);
    return f === ALL ? css.all : fills[f - FIRST];
  }

  // ---- drawing

  let bars = 0, width = 0, height = 0, ratio = 1, glyph = 7, asked = false;
  const scale = () => width / (tree.width[zoom] || 1);
  function size() {
    ratio = devicePixelRatio || 1;
    width = view.clientWidth;
    height = view.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    depths();
    draw();
  }
  function depths() {
    let deepest = 0;
    for (let i = zoom; i < tree.end[zoom]; i++) if (tree.depth[i] > deepest) deepest = tree.depth[i];
    $("space").style.height = `${Math.max(0, (deepest + 1) * ROW + 2 - height)}px`;
  }
  function redraw() {
    if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; draw(); }); }
  }
  function draw() {
    const g = draw2d, top = view.scrollTop, k = scale(), left = tree.x[zoom];
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.fillStyle = css.back;
    g.fillRect(0, 0, width, height);
    g.font = `${coarse ? 13 : 12}px ui-monospace, "DejaVu Sans Mono", monospace`;
    g.textBaseline = "middle";
    glyph = g.measureText("m").width;
    bars = 0;
    const first = Math.floor(top / ROW), last = Math.ceil((top + height) / ROW);
    for (const i of tree.path(zoom)) if (i !== zoom) bar(i, 0, width, top, true);
    const thin = new Float64Array(last + 2).fill(-1);
    const { depth, end, x } = tree;
    for (let i = zoom; i < end[zoom]; ) {
      const row = depth[i], from = (x[i] - left) * k, wide = tree.width[i] * k;
      if (row > last) { i = end[i]; continue; }
      if (wide < 0.7) {
        if (row >= first && wide > 0 && from >= thin[row]) {
          g.fillStyle = css.line;
          g.fillRect(from, row * ROW - top, 1, ROW - 1);
          thin[row] = from + 1;
        }
        i = end[i];
        continue;
      }
      if (row >= first) bar(i, from, wide, top, false);
      i++;
    }
    root.dataset.drawn = JSON.stringify({ bars, width, back: css.back, overflows: document.body.scrollWidth > innerWidth });
    for (const [i, colour] of [[chosen, css.accent], [hover, css.ink]]) outline(i, colour, top);
  }
  function span(i) {
    const within = i >= zoom && i < tree.end[zoom];
    return within ? [(tree.x[i] - tree.x[zoom]) * scale(), tree.width[i] * scale()] : [0, width];
  }
  function bar(i, from, wide, top, above) {
    bars++;
    const g = draw2d, y = tree.depth[i] * ROW - top;
    g.globalAlpha = above ? 0.55 : matched && tree.frame[i] >= FIRST && !matched[tree.frame[i] - FIRST] ? 0.45 : 1;
    g.fillStyle = fill(i);
    g.fillRect(from, y, Math.max(wide - 0.6, 0.6), ROW - 1);
    g.globalAlpha = 1;
    const from0 = Math.max(from, 0), room = Math.floor((Math.min(from + wide, width) - from0 - 6) / glyph);
    if (room < 3) return;
    const label = name(i), half = (room - 1) >> 1;
    const cut = label.length > room ? `${label.slice(0, half)}…${label.slice(half + 1 - room)}` : label;
    g.fillStyle = state.colour === "change" || tree.frame[i] < FIRST ? css.ink : css["frame-ink"];
    g.fillText(cut, from0 + 3, y + ROW / 2, wide - 4);
  }
  function outline(i, colour, top) {
    if (i < 0) return;
    const [from, wide] = span(i);
    draw2d.strokeStyle = colour;
    draw2d.lineWidth = 2;
    draw2d.strokeRect(from + 1, tree.depth[i] * ROW - top + 1, Math.max(wide - 2.6, 1), ROW - 3);
  }
  function at(clientX, clientY) {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor((clientY - box.top + view.scrollTop) / ROW);
    const path = tree.path(zoom);
    if (row < 0) return -1;
    if (row < path.length) return path[row];
    const x = tree.x[zoom] + (clientX - box.left) / scale();
    let i = zoom;
    while (i >= 0 && tree.depth[i] < row) {
      let found = -1;
      for (let c = i + 1; c < tree.end[i] && found < 0; c = tree.end[c]) if (x >= tree.x[c] && x < tree.x[c] + tree.width[c]) found = c;
      i = found;
    }
    return i;
  }

  // ---- what changes

  function measure() {
    tree.measure(state.type, state.relative);
    tree.arrange(state.bySize);
    depths();
    search();
  }
  function retree() {
    tree = state.up ? trees.up : trees.down;
    zoom = chosen = 0;
    hover = -1;
    measure();
  }
  function go(i) {
    zoom = chosen = i;
    hover = -1;
    tip.hidden = true;
    depths();
    const y = tree.depth[i] * ROW;
    if (y < view.scrollTop || y > view.scrollTop + height / 2) view.scrollTop = Math.max(0, y - 2 * ROW);
    search();
  }
  function out() {
    if (zoom) go(tree.parent[zoom]);
  }
  function choose(i) {
    if (i < 0) return;
    chosen = i;
    const y = tree.depth[i] * ROW;
    if (y < view.scrollTop) view.scrollTop = y;
    else if (y + ROW > view.scrollTop + height) view.scrollTop = y + ROW - height;
    inform(i);
    redraw();
  }
  // The share of what is shown that is at or below a frame that matches: the outermost of each path count.
  function search() {
    matched = sought = null;
    let told = "";
    const text = state.search.trim();
    $("search").classList.remove("bad");
    if (text) {
      const [, where, what] = /^(module:|file:)?(.*)$/s.exec(text);
      const of = where === "module:" ? (f) => modules[frames.module[f]] : where === "file:" ? (f) => files[frames.file[f]] : (f) => frames.name[f];
      try {
        const regex = new RegExp(what, "iu");
        matched = frames.name.map((_, f) => regex.test(of(f)));
      } catch (error) {
        $("search").classList.add("bad");
        told = "no valid regex";
      }
    }
    share = 0;
    if (matched) {
      let wide = 0, now = 0, was = 0, count = 0;
      sought = [];
      for (let i = zoom; i < tree.end[zoom]; ) {
        const f = tree.frame[i] - FIRST;
        if (f < 0 || !matched[f]) { i++; continue; }
        wide += tree.width[i];
        now += tree.now[i];
        was += compared ? tree.was[i] : 0;
        count++;
        sought.push(i);
        i = tree.end[i];
      }
      share = wide / (tree.width[zoom] || 1);
      const { unit } = types[state.type];
      told = count ? `${percent(share)}: ${compared ? growth(was, now) : exact(now, unit)}` : "no match";
      root.dataset.found = JSON.stringify({ now, was, count, share });
    } else delete root.dataset.found;
    $("found").value = told;
    inform(chosen);
    legend();
    controls();
    remember();
    redraw();
  }
  function inform(i) {
    $("info").textContent = facts(i).join("\n").replace(/\n/g, "  |  ");
  }
  function legend() {
    const box = $("legend"), rows = [];
    box.replaceChildren();
    const entry = (colour, text, key) => {
      const button = document.createElement(key === undefined ? "span" : "button"), mark = document.createElement("i");
      mark.style.background = colour;
      button.append(mark, text);
      if (key !== undefined) button.addEventListener("click", () => seek(state.search === key ? "" : key));
      box.append(button);
    };
    if (state.colour === "change") {
      entry(css.fall, compared ? "less than before" : "given back");
      entry(css.same, compared ? "the same" : "neither");
      entry(css.rise, compared ? "more than before" : "gained");
    } else {
      const by = state.colour === "kind" ? frames.kind : frames.module, sums = new Map();
      // by what stacks end in, which in the tree of callers are the top nodes
      for (let i = zoom; i < tree.end[zoom]; i++) {
        if (tree.frame[i] < FIRST || !tree.width[i] || (state.up && tree.depth[i] !== Math.max(1, tree.depth[zoom]))) continue;
        const key = by[tree.frame[i] - FIRST];
        sums.set(key, (sums.get(key) || 0) + (state.up ? tree.width[i] : tree.ownWidth[i]));
      }
      for (const [key, sum] of sums) if (sum) rows.push([sum, key]);
      rows.sort((p, q) => q[0] - p[0]);
      const whole = tree.width[zoom] || 1, most = coarse || width < 600 ? 5 : 9;
      for (const [sum, key] of rows.slice(0, most)) {
        const full = state.colour === "kind" ? kinds[key] : modules[key] || "module not known";
        const f = by.indexOf(key);
        const quoted = full.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
        entry(fills[f], `${full.slice(full.lastIndexOf("/") + 1)} ${percent(sum / whole)}`, state.colour === "kind" ? undefined : `module:^${modules[key] ? quoted : ""}$`);
      }
      if (rows.length > most) entry(css.back, `and ${rows.length - most} more`);
    }
    if (tree.inside.size) entry(css.rest, `${grouped([...tree.inside.values()].reduce((p, q) => p + q, 0))} stacks below ${+(tree.raw.share * 100).toPrecision(2)} %`);
  }
  function controls() {
    $("type").value = state.type;
    $("colour").value = state.colour;
    $("order").value = state.bySize ? "size" : "name";
    $("relative").value = state.relative ? "1" : "";
    $("invert").setAttribute("aria-pressed", state.up);
    $("out").disabled = !zoom;
    if ($("search").value !== state.search) $("search").value = state.search;
  }
  function seek(text) {
    state.search = text;
    search();
  }
  function recolour(how) {
    state.colour = how;
    read();
    search();
  }

  // ---- the address holds what is shown, so that it can be bookmarked and sent

  function remember() {
    const parts = new URLSearchParams();
    if (state.type !== data.main) parts.set("type", types[state.type].name);
    if (state.up) parts.set("from", "leaf");
    if (state.colour !== usual()) parts.set("colour", state.colour);
    if (!state.bySize) parts.set("order", "name");
    if (state.relative) parts.set("shares", "1");
    if (state.search) parts.set("search", state.search);
    if (zoom) parts.set("zoom", tree.path(zoom).slice(1).map((i) => tree.frame[i]).join("."));
    expose();
    try {
      history.replaceState(null, "", parts.size ? "#" + parts : location.pathname);
    } catch (error) { /* not allowed for some addresses */ }
  }
  const usual = () => (compared || tree.negative ? "change" : "module");
  function recall() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const type = types.findIndex((one) => one.name === parts.get("type"));
    if (type >= 0) state.type = type;
    state.up = parts.get("from") === "leaf";
    state.bySize = parts.get("order") !== "name";
    state.relative = compared && parts.get("shares") === "1";
    state.search = parts.get("search") || "";
    tree = state.up ? trees.up : trees.down;
    tree.measure(state.type, state.relative);
    state.colour = ["module", "kind", "change"].find((one) => one === parts.get("colour")) || usual();
    tree.arrange(state.bySize);
    for (const frame of (parts.get("zoom") || "").split(".").filter(Boolean).map(Number)) {
      const next = tree.children(zoom).find((c) => tree.frame[c] === frame);
      if (next === undefined) break;
      zoom = chosen = next;
    }
  }
  // What is drawn adds up to, for whoever checks: sums of the nodes themselves.
  function expose() {
    const sum = (columns) => JSON.stringify(columns.map((own) => own.reduce((p, q) => p + q, 0)));
    if (!root.dataset.down) {
      root.dataset.types = JSON.stringify(types.map((one) => one.name));
      for (const [key, one] of Object.entries(trees)) {
        root.dataset[key] = sum(one.raw.own);
        root.dataset[key + "Before"] = sum(one.raw.before);
        root.dataset[key + "Nodes"] = one.n;
      }
    }
    root.dataset.zoomed = JSON.stringify({ name: name(zoom), now: tree.now[zoom], was: compared ? tree.was[zoom] : null });
  }

  // ---- header

  function text(tag, content, className) {
    const made = document.createElement(tag);
    made.textContent = content;
    if (className) made.className = className;
    return made;
  }
  function head() {
    document.title = data.title;
    $("title").textContent = data.title;
    const { about } = data, other = data.compared;
    const when = (one) => `${one.begin.slice(0, 19).replace("T", " ")} UTC, ${one.lasted}${one.filters ? ` · ${one.filters}` : ""}`;
    const line = $("window"), totals = $("totals");
    if (other) line.append("before ", text("b", when(other)), " · after ", text("b", when(about)));
    else line.append(when(about), " · ", about.asked.map((one) => one[1]).join(" "));
    for (const { name: of, unit, total, before } of types)
      totals.append(totals.firstChild ? " · " : "", `${of} `, text("b", other ? `${exact(before, unit)} → ${exact(total, unit)}` : exact(total, unit)));
    const trust = $("trust");
    const apart = other && String(other.recordings) !== String(about.recordings);
    for (const [side, one] of apart ? [["before: ", other], ["after: ", about]] : [["", about]])
      for (const line of one.trust) trust.append(text("span", side + line, /: nothing$/.test(line) ? "" : "bad"), " · ");
    for (const one of data.notes) trust.append(text("span", one), " · ");
    if (trust.lastChild) trust.lastChild.remove();
    const facts_ = $("facts");
    const fact = (key, values) => values.filter(Boolean).forEach((value) => facts_.append(text("dt", key), text("dd", value)));
    for (const [key, question] of about.asked) fact(key, [question]);
    for (const [side, one] of other ? [["before", other], ["after", about]] : [["", about]]) {
      const title = (key) => (side ? `${side}: ${key}` : key);
      fact(title("recording"), one.recordings);
      fact(title("window"), [`${one.begin} to ${one.end}`]);
      fact(title("only"), [one.filters || "everything"]);
      fact(title("recorded"), one.comments);
    }
    fact("made by", [data.made]);
    $("type").append(...types.map((one, at) => { const made = text("option", `${one.name}, ${one.unit}`); made.value = at; return made; }));
    $("scaled").hidden = !compared;
  }

  // ---- what a person does

  view.addEventListener("scroll", redraw);
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    hover = at(event.clientX, event.clientY);
    tip.hidden = hover < 0;
    if (hover >= 0) {
      tip.textContent = facts(hover).join("\n");
      const box = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 6))}px`;
      tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? Math.max(4, event.clientY - box.height - 12) : event.clientY + 18}px`;
    }
    redraw();
  });
  canvas.addEventListener("pointerleave", () => { hover = -1; tip.hidden = true; redraw(); });
  canvas.addEventListener("click", (event) => {
    const i = at(event.clientX, event.clientY);
    if (i < 0) return;
    // a finger has no hover: its first tap tells, its second zooms
    if (event.pointerType === "touch" && i !== chosen) choose(i);
    else go(i);
  });
  const beside = (step) => {
    const siblings = chosen === zoom || tree.parent[chosen] < 0 ? [chosen] : tree.children(tree.parent[chosen]);
    choose(siblings[siblings.indexOf(chosen) + step] ?? chosen);
  };
  const match = (step) => {
    if (!sought || !sought.length) return;
    const now = sought.indexOf(chosen);
    choose(sought[now < 0 ? 0 : (now + step + sought.length) % sought.length]);
  };
  const cycle = (select) => { select.selectedIndex = (select.selectedIndex + 1) % select.options.length; select.dispatchEvent(new Event("change")); };
  const KEYS = {
    ArrowUp: () => { if (chosen) choose(tree.parent[chosen]); },
    ArrowDown: () => { const below = tree.children(chosen); choose(below.reduce((p, q) => (p < 0 || tree.width[q] > tree.width[p] ? q : p), -1)); },
    ArrowLeft: () => beside(-1),
    ArrowRight: () => beside(1),
    Enter: () => go(chosen),
    Escape: out,
    Backspace: out,
    0: () => go(0),
    Home: () => go(0),
    "/": () => $("search").focus(),
    n: () => match(1),
    N: () => match(-1),
    i: () => $("invert").click(),
    v: () => cycle($("type")),
    c: () => cycle($("colour")),
    o: () => cycle($("order")),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const within = event.target.tagName;
    if (within === "INPUT") {
      if (event.key === "Escape") { seek(""); view.focus(); event.preventDefault(); }
      if (event.key === "Enter") { view.focus(); match(1); event.preventDefault(); }
      return;
    }
    if ((within === "BUTTON" || within === "SUMMARY") && event.key === "Enter") return;
    if (within === "SELECT" && event.key !== "Escape") return;
    const does = Object.hasOwn(KEYS, event.key) ? KEYS[event.key] : null;
    if (does) { does(); event.preventDefault(); }
  });
  $("type").addEventListener("change", (event) => { state.type = Number(event.target.value); measure(); });
  $("relative").addEventListener("change", (event) => { state.relative = event.target.value === "1"; measure(); });
  $("order").addEventListener("change", (event) => { state.bySize = event.target.value === "size"; measure(); });
  $("colour").addEventListener("change", (event) => recolour(event.target.value));
  $("invert").addEventListener("click", () => { state.up = !state.up; retree(); });
  $("out").addEventListener("click", out);
  let waiting = 0;
  $("search").addEventListener("input", (event) => { clearTimeout(waiting); waiting = setTimeout(() => seek(event.target.value), 120); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { read(); search(); });

  head();
  recall();
  read();
  size();
  search();
  new ResizeObserver(size).observe(view);
  root.dataset.ready = "1";
})();
