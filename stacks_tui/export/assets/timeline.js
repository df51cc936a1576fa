"use strict";
// A timeline: tracks of processes with slices, instants and counters, drawn on a canvas. Everything
// is found by binary search, so a frame costs the number of pixels, not of events.
(async () => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const SLICE = 0, COUNTER = 1;
  const ROW = 17, HEAD = 22, METER = 36, RULER = 24, LABEL = 210, GAP = 3, TICK = 5;

  // ---- what is given -------------------------------------------------------------------------

  // Columns lie plane by plane: all lowest bytes, then all second ones …
  async function unpack() {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old (no DecompressionStream)");
    const text = atob(data.bytes);
    data.bytes = null;
    const packed = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const columns = {};
    let at = 0;
    for (const [name, width, count] of data.columns) {
      const column = width > 4 ? new Float64Array(count) : new Uint32Array(count);
      for (let plane = 0, factor = 1; plane < width; plane++, factor *= 256)
        for (let i = 0; i < count; i++) column[i] += bytes[at++] * factor;
      columns[name] = column;
    }
    return columns;
  }

  const c = await unpack();
  const signed = (value) => (value % 2 ? -(value + 1) / 2 : value / 2);
  const count = c.duration.length;
  const start = new Float64Array(count);
  const rows = data.rows.map(([track, what, depth, first, events]) => ({ track, what, depth, first, last: first + events }));
  for (const row of rows)
    for (let i = row.first, time = 0; i < row.last; i++) start[i] = time += c.since[i];
  const end = (i) => start[i] + c.duration[i];
  const busy = new Float64Array(count + 1); // time in slices up to each event
  for (let i = 0; i < count; i++) busy[i + 1] = busy[i] + c.duration[i];
  let first = count ? Infinity : 0, last = 1;
  for (let i = 0; i < count; i++) {
    first = Math.min(first, start[i]);
    last = Math.max(last, end(i), first + 1);
  }
  const all = last - first;

  const tracks = data.tracks.map(([process, name, tid, own, unit]) => ({ process, name, tid, own, unit, rows: [], ticks: null, depth: 0, most: 0 }));
  for (const row of rows) {
    const track = tracks[row.track];
    if (row.what === SLICE) track.depth = Math.max(track.depth, row.depth + 1);
    if (row.what === COUNTER)
      for (let i = row.first; i < row.last; i++) track.most = Math.max(track.most, signed(c.amount[i]));
    if (row.what > COUNTER) track.ticks = row;
    else track.rows.push(row);
  }
  const rowOf = (i) => rows[above(rows.length, (at) => rows[at].first > i) - 1];

  // The first index at which the test holds; it holds from there on.
  function above(length, test, from = 0) {
    let low = from, high = length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (test(middle)) high = middle; else low = middle + 1;
    }
    return low;
  }

  // ---- how it is said ------------------------------------------------------------------------

  const UNITS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3]];
  function time(ns) {
    const size = Math.abs(ns);
    for (const [unit, factor] of UNITS)
      if (size >= factor) return `${(ns / factor).toPrecision(Math.max(3, Math.floor(Math.log10(size / factor)) + 1))} ${unit}`;
    return `${ns} ns`;
  }
  // With as many digits as tell it from the next one.
  function tickTime(ns, step) {
    const [unit, factor] = UNITS.find(([, one]) => Math.abs(ns) >= one) || ["ns", 1];
    return `${(ns / factor).toFixed(Math.max(Math.ceil(Math.log10(factor / step) - 1e-9), 0))} ${unit}`;
  }
  const whole = (value) => value.toLocaleString("en-US");
  function amount(value, unit) {
    if (unit !== "bytes") return `${whole(value)}${unit ? ` ${unit}` : ""}`;
    const sign = value < 0 ? "-" : "";
    let size = Math.abs(value), at = 0;
    while (size >= 1024 && at < 5) { size /= 1024; at++; }
    return `${sign}${at ? size.toPrecision(size >= 1000 ? 4 : 3) : size} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][at]}`;
  }
  function element(tag, text, name) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  }
  function threadOf(i) {
    const track = tracks[rowOf(i).track];
    const [pid, name] = data.processes[track.process];
    return track.tid < 0 ? `${name} ${pid}` : `${track.name}, thread ${track.tid} of ${name} ${pid}`;
  }

  // ---- where it is drawn ---------------------------------------------------------------------

  const view = $("view"), canvas = $("canvas"), pen = canvas.getContext("2d");
  const state = { from: first, span: all, width: 1, height: 1, chosen: -1, range: null, folded: new Set(), match: null };
  let lines = []; // {y, height, process} or {y, height, track}
  let colours = [], paint = {};

  function layOut() {
    lines = [];
    let y = RULER, before = -1;
    tracks.forEach((track, at) => {
      if (track.process !== before) {
        before = track.process;
        lines.push({ y, height: HEAD, process: before });
        y += HEAD;
      }
      if (state.folded.has(track.process)) return;
      const height = track.unit !== null ? METER : Math.max(track.depth, 1) * ROW + GAP;
      lines.push({ y, height, track: at });
      y += height + GAP;
    });
    $("space").style.height = `${Math.max(y + GAP - view.clientHeight, 0)}px`;
  }

  function theme() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["back", "panel", "ink", "soft", "line", "accent", "run", "wait", "queue", "counter", "mark", "slice-ink", "light", "colour"])
      paint[name] = style.getPropertyValue(`--${name}`).trim();
    colours = data.names.map((name) => {
      if (name === "on CPU") return paint.run;
      if (name === "runnable" || name === "waits for a CPU") return paint.queue;
      if (name.startsWith("blocked") || name === "off CPU") return paint.wait;
      let hash = 7;
      for (let i = 0; i < name.length; i++) hash = (hash * 31 + name.charCodeAt(i)) >>> 0;
      return `hsl(${hash % 360} ${paint.colour} ${paint.light})`;
    });
  }

  function resize() {
    const scale = window.devicePixelRatio || 1;
    state.width = Math.max(view.clientWidth, 1);
    state.height = Math.max(view.clientHeight, 1);
    canvas.width = state.width * scale;
    canvas.height = state.height * scale;
    canvas.style.width = `${state.width}px`;
    canvas.style.height = `${state.height}px`;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    layOut();
    draw(); // at once: a new size has emptied the canvas
  }

  const plot = () => Math.max(state.width - LABEL, 1);
  const x = (ns) => LABEL + ((ns - state.from) / state.span) * plot();
  const at = (px) => state.from + ((px - LABEL) / plot()) * state.span;

  let waiting = false, summing = 0;
  function dirty() {
    if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); }
    clearTimeout(summing);
    summing = setTimeout(sum, 120);
  }

  function go(from, span) {
    state.span = Math.min(Math.max(span, 50), all * 1.05);
    const spare = state.span * 0.05; // a little is seen beyond either end
    state.from = state.span >= all ? first - (state.span - all) / 2
      : Math.min(Math.max(from, first - spare), last - state.span + spare);
    dirty();
  }
  const zoom = (factor, px = LABEL + plot() / 2) => go(at(px) - (at(px) - state.from) * factor, state.span * factor);

  // ---- drawing -------------------------------------------------------------------------------

  function draw() {
    pen.fillStyle = paint.back;
    pen.fillRect(0, 0, state.width, state.height);
    pen.textBaseline = "middle";
    const top = view.scrollTop;
    for (const line of lines) {
      const y = line.y - top;
      if (y + line.height < RULER || y > state.height) continue;
      if (line.process !== undefined) drawProcess(line, y);
      else drawTrack(tracks[line.track], y, line.height);
    }
    drawArrows();
    if (state.range) {
      pen.fillStyle = paint.accent;
      pen.globalAlpha = 0.14;
      pen.fillRect(x(state.range[0]), 0, Math.max(x(state.range[1]) - x(state.range[0]), 1), state.height);
      pen.globalAlpha = 1;
    }
    drawRuler();
    document.body.dataset.ready = "1";
  }

  function label(text, px, y, width, colour, size = 12, weight = "") {
    pen.fillStyle = colour;
    pen.font = `${weight} ${size}px system-ui, sans-serif`;
    const letters = Math.floor(width / (size * 0.6));
    if (letters > 2) pen.fillText(text.length > letters ? `${text.slice(0, letters - 1)}…` : text, px, y);
  }

  function drawProcess(line, y) {
    const [pid, name] = data.processes[line.process];
    pen.fillStyle = paint.panel;
    pen.fillRect(0, y, state.width, line.height - 2);
    label(`${state.folded.has(line.process) ? "▸" : "▾"} ${name} ${pid}`, 8, y + line.height / 2 - 1, state.width - 20, paint.ink, 12, "600");
  }

  function drawTrack(track, y, height) {
    pen.fillStyle = paint.line;
    pen.fillRect(0, y + height + 1, state.width, 1);
    label(track.own && track.tid >= 0 ? `${track.name} ${track.tid}` : track.name, 16, y + ROW / 2, LABEL - 22, paint.ink);
    pen.save();
    pen.beginPath();
    pen.rect(LABEL, y, plot(), height);
    pen.clip();
    for (const row of track.rows)
      if (row.what === COUNTER) drawCounter(track, row, y, height);
      else drawSlices(row, y + row.depth * ROW);
    if (track.ticks) drawTicks(track.ticks, y + ROW - TICK);
    pen.restore();
  }

  function drawSlices(row, y) {
    const stop = state.from + state.span;
    let i = above(row.last, (one) => end(one) >= state.from, row.first);
    while (i < row.last && start[i] < stop) {
      const left = x(start[i]), right = x(end(i));
      pen.fillStyle = colours[c.name[i]];
      pen.globalAlpha = state.match && !matches(i) ? 0.22 : 1;
      if (right - left >= 1.5) {
        const begin = Math.max(left, LABEL - 2), width = Math.min(right, state.width + 2) - begin;
        pen.fillRect(begin, y + 1, Math.max(width - (right - left > 4 ? 1 : 0), 1), ROW - 2);
        if (width > 26) label(data.names[c.name[i]], begin + 4, y + ROW / 2, width - 6, paint["slice-ink"], 11);
        if (i === state.chosen) outline(begin, y, width);
        i++;
      } else {
        const pixel = Math.floor(left), next = at(pixel + 1);
        const after = Math.max(above(row.last, (one) => end(one) > next, i), i + 1);
        // as dense as it is: of a pixel with several the longest colours it
        let longest = i;
        for (let one = i + 1; one < Math.min(after, i + 24); one++) if (c.duration[one] > c.duration[longest]) longest = one;
        pen.fillStyle = colours[c.name[longest]];
        pen.globalAlpha *= 0.3 + 0.7 * Math.min((busy[after] - busy[i]) / (state.span / plot()), 1);
        pen.fillRect(pixel, y + 1, 1, ROW - 2);
        if (state.chosen >= i && state.chosen < after) outline(pixel - 1, y, 3);
        i = after;
      }
    }
    pen.globalAlpha = 1;
  }

  function outline(px, y, width) {
    pen.globalAlpha = 1;
    pen.strokeStyle = paint.accent;
    pen.lineWidth = 2;
    pen.strokeRect(px, y + 1, Math.max(width, 3), ROW - 2);
  }

  function drawTicks(row, y) {
    const stop = state.from + state.span;
    let i = above(row.last, (one) => start[one] >= state.from, row.first);
    while (i < row.last && start[i] <= stop) {
      const pixel = Math.floor(x(start[i])), next = at(pixel + 1);
      const found = !state.match || matches(i);
      const chosen = state.chosen === i;
      pen.globalAlpha = found ? 0.85 : 0.2;
      pen.fillStyle = chosen ? paint.accent : paint.mark;
      pen.fillRect(pixel - (chosen ? 1 : 0), y - (chosen ? 4 : 0), chosen ? 3 : 1, TICK + (chosen ? 4 : 0));
      i = Math.max(above(row.last, (one) => start[one] >= next, i), i + 1);
    }
    pen.globalAlpha = 1;
  }

  function drawCounter(track, row, y, height) {
    const base = y + height - 1, scale = (height - 6) / Math.max(track.most, 1);
    let i = Math.max(above(row.last, (one) => start[one] > state.from, row.first) - 1, row.first);
    pen.fillStyle = paint.counter;
    pen.beginPath();
    pen.moveTo(Math.max(x(start[i]), LABEL), base);
    let value = 0, pixel = -1, most = 0;
    const stop = state.from + state.span;
    for (; i < row.last && start[i] <= stop; i++) {
      const px = Math.max(x(start[i]), LABEL);
      if (Math.floor(px) !== pixel) {
        if (pixel >= 0 && most !== value) pen.lineTo(pixel, base - Math.max(most, 0) * scale);
        pen.lineTo(px, base - Math.max(value, 0) * scale);
        pixel = Math.floor(px);
        most = 0;
      }
      value = signed(c.amount[i]);
      most = Math.max(most, value); // of a pixel the highest is seen
      pen.lineTo(px, base - Math.max(value, 0) * scale);
    }
    pen.lineTo(state.width, base - Math.max(value, 0) * scale);
    pen.lineTo(state.width, base);
    pen.fill();
    if (state.chosen >= row.first && state.chosen < row.last) {
      pen.fillStyle = paint.accent;
      pen.fillRect(x(start[state.chosen]) - 1, y, 2, height);
    }
    label(`up to ${amount(track.most, track.unit)}`, LABEL + 6, y + 8, 200, paint.soft, 10);
  }

  function spot(i) {
    const row = rowOf(i), line = lines.find((one) => one.track === row.track);
    return line ? { x: x(start[i]), y: line.y - view.scrollTop + row.depth * ROW + ROW / 2 } : null;
  }

  function drawArrows() {
    if (state.chosen < 0) return;
    pen.strokeStyle = pen.fillStyle = paint.accent;
    pen.lineWidth = 1.5;
    for (const one of arrowsOf(state.chosen)) {
      const a = spot(c.from[one]), b = spot(c.to[one]);
      if (!a || !b) continue;
      const bend = Math.max(Math.abs(b.x - a.x) / 2, 24);
      pen.beginPath();
      pen.moveTo(a.x, a.y);
      pen.bezierCurveTo(a.x + bend, a.y, b.x - bend, b.y, b.x, b.y);
      pen.stroke();
      pen.beginPath();
      pen.moveTo(b.x, b.y);
      pen.lineTo(b.x - 7, b.y - 4);
      pen.lineTo(b.x - 7, b.y + 4);
      pen.fill();
    }
  }

  function arrowsOf(i) {
    const found = [];
    for (let one = 0; one < c.from.length && found.length < 200; one++)
      if (c.from[one] === i || c.to[one] === i) found.push(one);
    return found;
  }

  function drawRuler() {
    pen.fillStyle = paint.back;
    pen.fillRect(0, 0, state.width, RULER);
    pen.fillStyle = paint.line;
    pen.fillRect(0, RULER - 1, state.width, 1);
    const rough = (state.span / plot()) * 110, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
    for (let tick = Math.ceil(state.from / step) * step; tick <= state.from + state.span; tick += step) {
      const px = x(tick);
      if (px < LABEL) continue;
      pen.fillStyle = paint.line;
      pen.fillRect(px, RULER - 7, 1, 7);
      label(tickTime(Math.round(tick), step), px + 4, RULER / 2, 110, paint.soft, 11);
    }
    label(`${time(Math.round(state.span))} shown`, 8, RULER / 2, LABEL - 12, paint.soft, 11);
  }

  // ---- pointing ------------------------------------------------------------------------------

  const lineAt = (y) => lines.find((one) => y >= one.y - view.scrollTop && y < one.y - view.scrollTop + one.height);

  function nearest(row, px, reach) {
    const ns = at(px), close = (reach / plot()) * state.span;
    const i = above(row.last, (one) => end(one) >= ns, row.first);
    let best = -1, far = close;
    for (const one of [i - 1, i]) {
      if (one < row.first || one >= row.last) continue;
      const away = ns < start[one] ? start[one] - ns : Math.max(ns - end(one), 0);
      if (away <= far) { best = one; far = away; }
    }
    return best;
  }

  function pick(px, y) {
    const line = lineAt(y);
    if (!line || line.track === undefined || px < LABEL || y < RULER) return -1;
    const track = tracks[line.track], below = y - (line.y - view.scrollTop);
    if (track.unit !== null) {
      const row = track.rows[0];
      return Math.max(above(row.last, (one) => start[one] > at(px), row.first) - 1, row.first);
    }
    const depth = Math.floor(below / ROW);
    const row = track.rows.find((one) => one.depth === depth);
    const tick = track.ticks && depth === 0 ? nearest(track.ticks, px, 4) : -1;
    if (tick >= 0 && (below >= ROW - TICK - 2 || !row)) return tick;
    const slice = row ? nearest(row, px, 3) : -1;
    return slice >= 0 ? slice : tick;
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const ruler = event.offsetY < RULER && event.offsetX >= LABEL;
    drag = { x: event.offsetX, y: event.offsetY, from: state.from, top: view.scrollTop, moved: false, sums: ruler || event.shiftKey };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) { hover(event); return; }
    const dx = event.offsetX - drag.x, dy = event.offsetY - drag.y;
    if (!drag.moved && Math.hypot(dx, dy) < 4) return;
    drag.moved = true;
    $("tip").hidden = true;
    if (drag.sums) {
      const ends = [at(drag.x), at(event.offsetX)].sort((a, b) => a - b);
      state.range = [Math.max(ends[0], first), Math.min(ends[1], last)];
      dirty();
    } else {
      view.scrollTop = drag.top - dy;
      go(drag.from - (dx / plot()) * state.span, state.span);
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    const done = drag;
    drag = null;
    if (!done || done.moved) return;
    const line = lineAt(event.offsetY);
    if (done.sums) state.range = null;
    else if (line && line.process !== undefined && event.offsetY >= RULER) {
      if (!state.folded.delete(line.process)) state.folded.add(line.process);
      layOut();
    } else choose(pick(event.offsetX, event.offsetY));
    dirty();
  });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey || event.offsetY < RULER) zoom(1.0018 ** event.deltaY, Math.max(event.offsetX, LABEL));
    else if (event.shiftKey || event.deltaX) go(state.from + ((event.deltaX || event.deltaY) / plot()) * state.span, state.span);
    else return;
    event.preventDefault();
  }, { passive: false });
  view.addEventListener("scroll", dirty);

  function hover(event) {
    const tip = $("tip"), i = pick(event.offsetX, event.offsetY);
    tip.hidden = i < 0;
    canvas.style.cursor = i < 0 ? "default" : "pointer";
    if (i < 0) return;
    const row = rowOf(i);
    tip.textContent = `${data.names[c.name[i]]}\n${row.what === SLICE ? time(c.duration[i]) : row.what === COUNTER ? amount(signed(c.amount[i]), tracks[row.track].unit) : ""} at ${time(start[i])}`;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)}px`;
  }

  // ---- one event -----------------------------------------------------------------------------

  function choose(i) {
    state.chosen = i;
    const box = $("event");
    box.replaceChildren();
    if (i < 0) { box.append(element("p", "Click an event for its times, details and stacks.", "soft")); return; }
    const row = rowOf(i), track = tracks[row.track];
    box.append(element("h2", data.names[c.name[i]]));
    const list = element("dl");
    const say = (name, value) => list.append(element("dt", name), element("dd", value));
    say("on", threadOf(i));
    say(row.what === SLICE ? "begins" : "at", `${time(start[i])}  (${whole(start[i])} ns)`);
    if (row.what === SLICE) say("lasts", `${time(c.duration[i])}  (${whole(c.duration[i])} ns)`);
    if (c.kind[i]) say("kind", data.kinds[c.kind[i] - 1]);
    if (c.cpu[i]) say("CPU", String(c.cpu[i] - 1));
    const value = signed(c.amount[i]);
    if (row.what === COUNTER) say("value", `${amount(value, track.unit)}  (${whole(value)})`);
    else if (value) say("amount", whole(value));
    data.details.forEach((detail, number) => {
      const code = c[`detail ${number}`][i];
      if (!code) return;
      const plain = detail.texts ? detail.texts[code - 1] : signed(code - 1);
      say(detail.name, detail.texts ? plain : detail.unit === "nanoseconds" ? time(plain) : String(plain));
    });
    box.append(list);
    for (const one of arrowsOf(i).slice(0, 20)) {
      const other = c.from[one] === i ? c.to[one] : c.from[one];
      const button = element("button", `${c.from[one] === i ? "→" : "←"} ${data.names[c.name[other]]}: ${threadOf(other)}`);
      button.addEventListener("click", () => show(other));
      box.append(button);
    }
    const stacks = element("div", undefined, "stacks");
    const sides = [["stack", c.stack[i]], ["stack at the end", c.end_stack[i]]].filter(([, node]) => node);
    for (const [name, node] of sides) stacks.append(stackOf(name, node - 1));
    box.append(stacks);
    box.scrollTop = 0;
  }

  function stackOf(name, node) {
    const made = element("div"), list = element("ol");
    made.append(element("h3", `${name}, leaf first`), list);
    for (; node >= 0; node = c.parent[node] - 1) {
      const [frame, module, source] = data.frames[c.place[node]];
      const line = element("li", frame, state.match && state.match.frames[c.place[node]] ? "found" : "");
      line.append(" ", element("small", [module, source].filter(Boolean).join(" ")));
      list.append(line);
    }
    return made;
  }

  // Scroll and zoom so that an event is seen, and choose it.
  function show(i) {
    const row = rowOf(i);
    if (state.folded.delete(tracks[row.track].process)) layOut();
    if (end(i) < state.from || start[i] > state.from + state.span || c.duration[i] > state.span)
      go(start[i] - Math.max(state.span, c.duration[i] * 1.2) * 0.1, Math.max(state.span, c.duration[i] * 1.2));
    const line = lines.find((one) => one.track === row.track), y = line.y + row.depth * ROW;
    if (y < view.scrollTop + RULER || y + ROW > view.scrollTop + view.clientHeight) view.scrollTop = y - view.clientHeight / 2;
    choose(i);
    dirty();
  }

  // ---- sums ----------------------------------------------------------------------------------

  function sum() {
    const everything = state.from <= first && state.from + state.span >= last;
    const [from, to] = state.range || (everything ? [0, Infinity] : [state.from, state.from + state.span]);
    const counts = new Float64Array(data.names.length), times = new Float64Array(data.names.length);
    for (const row of rows) {
      if (row.what === COUNTER) continue;
      let i = above(row.last, (one) => end(one) >= from, row.first);
      for (; i < row.last && start[i] <= to; i++) {
        if (state.match && !matches(i)) continue;
        counts[c.name[i]]++;
        times[c.name[i]] += Math.min(end(i), to) - Math.max(start[i], from);
      }
    }
    const order = [...counts.keys()].filter((one) => counts[one]).sort((a, b) => times[b] - times[a] || counts[b] - counts[a]);
    const body = $("totals");
    body.replaceChildren();
    for (const one of order.slice(0, 200)) {
      const line = element("tr"), name = element("td"), dot = element("i");
      dot.style.background = colours[one];
      name.append(dot, data.names[one]);
      line.append(name, element("td", whole(counts[one]), "n"), element("td", times[one] ? time(Math.round(times[one])) : "", "n"));
      line.dataset.count = counts[one];
      line.dataset.ns = times[one];
      body.append(line);
    }
    const what = state.match ? "matches " : "";
    $("sums-title").textContent = state.range ? `${what}in the span of ${time(Math.round(to - from))} from ${time(Math.round(from))}`
      : everything ? `${what}in the whole time` : `${what}in the time shown`;
    if (order.length > 200) body.append(element("tr", `and ${whole(order.length - 200)} more names`));
  }

  // ---- search --------------------------------------------------------------------------------

  function matches(i) {
    const match = state.match;
    return match.names[c.name[i]] || (c.stack[i] && match.nodes[c.stack[i] - 1]) || (c.end_stack[i] && match.nodes[c.end_stack[i] - 1]);
  }

  function search() {
    const wanted = $("search").value.trim().toLowerCase();
    state.match = null;
    $("found").textContent = "";
    if (wanted) {
      const has = (text) => text.toLowerCase().includes(wanted);
      const names = data.names.map(has), frames = data.frames.map(([name]) => has(name));
      const nodes = new Uint8Array(c.place.length); // callers come before what they call
      for (let node = 0; node < nodes.length; node++)
        nodes[node] = frames[c.place[node]] || (c.parent[node] && nodes[c.parent[node] - 1]) ? 1 : 0;
      state.match = { names, frames, nodes };
      let found = 0;
      for (let i = 0; i < count; i++) if (matches(i)) found++;
      $("found").textContent = found ? `${whole(found)} events` : "nothing";
    }
    dirty();
  }

  // The match that begins next after what is chosen, or before it.
  function step(way) {
    if (!state.match) { $("search").focus(); return; }
    const now = state.chosen >= 0 ? start[state.chosen] : way > 0 ? state.from - 1 : state.from + state.span;
    let best = -1;
    for (let i = 0; i < count; i++) {
      if (i === state.chosen || !matches(i)) continue;
      const later = start[i] - now || i - state.chosen;
      if (later * way <= 0) continue;
      if (best < 0 || (start[i] - start[best] || i - best) * way < 0) best = i;
    }
    if (best >= 0) show(best);
  }

  // ---- keys ----------------------------------------------------------------------------------

  const keys = {
    w: () => zoom(0.7), s: () => zoom(1 / 0.7), "+": () => zoom(0.7), "-": () => zoom(1 / 0.7),
    a: () => go(state.from - state.span * 0.15, state.span), d: () => go(state.from + state.span * 0.15, state.span),
    ArrowLeft: () => go(state.from - state.span * 0.15, state.span), ArrowRight: () => go(state.from + state.span * 0.15, state.span),
    ArrowUp: () => { view.scrollTop -= 3 * ROW; }, ArrowDown: () => { view.scrollTop += 3 * ROW; },
    0: () => go(first, all), n: () => step(1), N: () => step(-1), "/": () => $("search").focus(),
    f: () => {
      if (state.range) go(state.range[0], state.range[1] - state.range[0]);
      else if (state.chosen >= 0) go(start[state.chosen] - c.duration[state.chosen] * 0.1 - 500, c.duration[state.chosen] * 1.2 + 1000);
    },
    Escape: () => { state.range = null; choose(-1); $("search").value = ""; search(); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === $("search")) {
      if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") { keys.Escape(); view.focus(); }
      return;
    }
    if (!keys[event.key] || (event.key.startsWith("Arrow") && event.target.closest("#panel"))) return;
    event.preventDefault();
    keys[event.key]();
    dirty();
  });
  $("all").addEventListener("click", keys[0]);
  $("in").addEventListener("click", keys.w);
  $("out").addEventListener("click", keys.s);
  $("after").addEventListener("click", keys.n);
  $("before").addEventListener("click", keys.N);
  let typing = 0;
  $("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, 150); });

  // ---- begin ---------------------------------------------------------------------------------

  const about = data.about;
  $("title").textContent = about.title;
  $("said").textContent = [
    `${whole(about.events)} events in ${time(all)}, ${time(first)} after ${about.begin}`,
    about.selection && `only ${about.selection}`, ...about.comments,
  ].filter(Boolean).join(" · ");
  $("said").title = about.asked.map(([name, question]) => `${name}: ${question}`).join("\n");
  $("left-out").textContent = about.left_out;
  $("left-out").hidden = !about.left_out;
  new ResizeObserver(resize).observe(view);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { theme(); dirty(); });
  theme();
  resize();
  if (!count) $("event").replaceChildren(element("p", "Nothing in the recording answers this.", "soft"));
  sum();
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.get("search")) { $("search").value = asked.get("search"); search(); }
  const one = Number(asked.get("event") ?? -1), near = Number(asked.get("span"));
  if (one >= 0 && one < count) {
    if (near > 0) go(start[one] - near * 0.4, near);
    show(one);
  }
})().catch((error) => {
  const told = document.createElement("p");
  told.setAttribute("id", "failed");
  told.textContent = `This page could not be drawn: ${error.message}`;
  document.body.prepend(told);
});
