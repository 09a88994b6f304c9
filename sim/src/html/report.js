"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, fields, ...children) => {
    const node = Object.assign(document.createElement(tag), fields);
    node.append(...children);
    return node;
  };
  const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
  const seconds = (us) => (us / 1e6).toFixed(6) + "s";

  // --- the data

  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  };
  let data;
  try {
    data = await unpack($("data").textContent);
  } catch (error) {
    $("trouble").textContent = "This browser cannot unpack what the page shows (" + error + "). The story above is complete without it.";
    $("trouble").hidden = false;
    return;
  }

  // How each kind of event is drawn: colour, letter, width, and whether it is a stage in a message's life.
  const KINDS = {
    "publish": { tone: "publish", mark: "P", name: "publish", width: 1.6 },
    "confirm": { tone: "violet", mark: "C", name: "confirm", width: 1.6 },
    "refuse": { tone: "bad", mark: "N", name: "refuse", width: 1.6 },
    "return": { tone: "bad", mark: "B", name: "return", width: 1.6 },
    "deliver": { tone: "deliver", mark: "D", name: "deliver", width: 1.6 },
    "ack": { tone: "ack", mark: "A", name: "ack", width: 1.6, dash: [6, 3] },
    "reject": { tone: "bad", mark: "R", name: "reject or requeue", width: 1.6, dash: [6, 3] },
    "said": { tone: "said", mark: "·", name: "other methods", width: 1, dash: [2, 3] },
    "taken": { tone: "publish", mark: "T" }, "enqueued": { tone: "publish", mark: "E" },
    "written": { tone: "ack", mark: "W" }, "synced": { tone: "deliver", mark: "S" },
    "log-lost": { tone: "bad", mark: "✗" }, "requeued": { tone: "ack", mark: "Q" },
    "left": { tone: "violet", mark: "L" }, "settled": { tone: "deliver", mark: "F" },
    "queue": { tone: "soft", mark: "q" }, "connected": { tone: "soft", mark: "+" }, "closed": { tone: "soft", mark: "×" },
    "node": { tone: "ink", mark: "n" }, "disk": { tone: "said", mark: "d" },
    "fault-begins": { tone: "fault", mark: "!" }, "fault-ends": { tone: "fault", mark: "o" }, "broken": { tone: "bad", mark: "✗" },
  };
  const STAGES = [["publish", "published"], ["taken", "taken"], ["enqueued", "in a queue"], ["written", "written"], ["synced", "durable"],
    ["confirm", "confirmed"], ["deliver", "delivered"], ["ack", "acked"]];
  const WHOLE = ["node", "fault-begins", "log-lost"];

  let run, events, lanes, end, cause;
  // Until when something happened: a run that comes to no rest waits for long, and nothing is to be seen of that.
  let busy;
  let view = { from: 0, to: 1 };
  let moment = 0;
  let selected = -1;
  let hovered = -1;
  let message = null;
  let colours = {};

  const readColours = () => {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["paper", "card", "ink", "soft", "line", "faint", "publish", "deliver", "ack", "bad", "fault", "violet", "said"]) {
      colours[name] = style.getPropertyValue("--" + name).trim();
    }
  };
  const begin = (event) => event.from ?? event.at;
  const isAbout = (event, number) => event.messages !== undefined && event.messages.includes(number);
  const shown = (event) => !$("only").checked || message === null || isAbout(event, message) || WHOLE.includes(event.kind) || event.kind === "broken";

  // A canvas fitted to its place, with the pixels of the screen.
  const fitted = (canvas, height) => {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    canvas.style.height = height + "px";
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    pen.textBaseline = "middle";
    return { pen, width, height };
  };

  // --- the diagram

  const layout = () => {
    const width = $("diagram").clientWidth;
    const gutter = width < 560 ? 82 : 118;
    const row = clamp(560 / lanes.length, 30, 58);
    return { width, gutter, row, top: 22, height: 22 + row * lanes.length + 26, right: 14 };
  };
  // With even steps, time runs evenly only between the steps of the story: each pause between two has a width that grows with its
  // logarithm. `spread` gives a moment's place on that scale, `moments` goes back.
  let scale = null;
  const makeScale = () => {
    scale = null;
    if (!$("even").checked) return;
    const steps = events.filter((event) => message === null || isAbout(event, message) || WHOLE.includes(event.kind) || event.kind === "broken");
    const times = [...new Set([0, end, ...steps.flatMap((event) => [begin(event), event.at])])].sort((a, b) => a - b);
    const places = [0];
    for (let at = 1; at < times.length; at++) places.push(places[at - 1] + Math.log2(1 + (times[at] - times[at - 1]) / 300));
    scale = { times, places };
  };
  const along = (value, from, to) => {
    const last = from.length - 1;
    if (value <= from[0]) return to[0] + (value - from[0]) * ((to[last] - to[0]) / (from[last] - from[0]));
    if (value >= from[last]) return to[last] + (value - from[last]) * ((to[last] - to[0]) / (from[last] - from[0]));
    let [low, high] = [0, last];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (from[middle] <= value) low = middle;
      else high = middle;
    }
    return to[low] + ((value - from[low]) / (from[high] - from[low])) * (to[high] - to[low]);
  };
  const spread = (at) => scale ? along(at, scale.times, scale.places) : at;
  const moments = (place) => scale ? along(place, scale.places, scale.times) : place;
  const share = (at) => (spread(at) - spread(view.from)) / (spread(view.to) - spread(view.from));
  const xOf = (at, place) => place.gutter + share(at) * (place.width - place.gutter - place.right);
  const timeAt = (x, place) => moments(spread(view.from) + ((x - place.gutter) / (place.width - place.gutter - place.right)) * (spread(view.to) - spread(view.from)));
  const yOf = (lane, place) => place.top + place.row * (lane + 0.5);

  const hatch = (pen, x, y, width, height, colour, step) => {
    pen.save();
    pen.beginPath();
    pen.rect(x, y, width, height);
    pen.clip();
    pen.strokeStyle = colour;
    pen.lineWidth = 1.4;
    pen.beginPath();
    for (let at = Math.floor((x - height) / step) * step; at < x + width; at += step) {
      pen.moveTo(at, y + height);
      pen.lineTo(at + height, y);
    }
    pen.stroke();
    pen.restore();
  };

  const cross = (pen, x, y, size, colour) => {
    pen.setLineDash([]);
    for (const [ink, width] of [[colours.card, 5], [colour, 2.4]]) {
      pen.strokeStyle = ink;
      pen.lineWidth = width;
      pen.beginPath();
      pen.moveTo(x - size, y - size);
      pen.lineTo(x + size, y + size);
      pen.moveTo(x - size, y + size);
      pen.lineTo(x + size, y - size);
      pen.stroke();
    }
  };

  const arrow = (pen, x0, y0, x1, y1, kind, isStrong, isLost, isUnderway) => {
    const style = KINDS[kind];
    // What was on its way when the run ended points beyond that.
    if (isUnderway) x1 = Math.max(x1, x0 + 20);
    pen.strokeStyle = colours[style.tone];
    pen.fillStyle = colours[style.tone];
    pen.lineWidth = isStrong ? style.width + 1.2 : style.width;
    pen.setLineDash(isUnderway ? [2, 2] : style.dash || []);
    pen.beginPath();
    pen.moveTo(x0, y0);
    const [ex, ey] = isLost ? [x0 + (x1 - x0) * 0.55, y0 + (y1 - y0) * 0.55] : [x1, y1];
    pen.lineTo(ex, ey);
    pen.stroke();
    pen.setLineDash([]);
    if (isLost) {
      cross(pen, ex, ey, 5, colours.bad);
      return;
    }
    const angle = Math.atan2(y1 - y0, x1 - x0);
    const size = isStrong ? 9 : 7;
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(x1 - size * Math.cos(angle - 0.38), y1 - size * Math.sin(angle - 0.38));
    pen.lineTo(x1 - size * Math.cos(angle + 0.38), y1 - size * Math.sin(angle + 0.38));
    pen.fill();
  };

  const ticks = (from, to, count) => {
    const rough = (to - from) / count;
    const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) || power * 10;
    const out = [];
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) out.push(at);
    return { step, out };
  };
  const tickName = (at, step) => step >= 1e6 ? at / 1e6 + " s" : (at / 1e6).toFixed(clamp(6 - Math.floor(Math.log10(step)), 1, 6)) + " s";

  const drawDiagram = () => {
    const place = layout();
    const { pen, width, height } = fitted($("diagram"), place.height);
    const inside = (x) => clamp(x, place.gutter, width - place.right);
    const floor = place.top + place.row * lanes.length;

    // Lanes.
    lanes.forEach((lane, index) => {
      const y = yOf(index, place);
      if (lane.kind !== "client") {
        pen.fillStyle = colours.faint;
        pen.fillRect(0, y - place.row / 2, width, place.row);
      }
      pen.strokeStyle = lane.kind === "node" ? colours.soft : colours.line;
      pen.lineWidth = lane.kind === "node" ? 2 : 1;
      pen.beginPath();
      pen.moveTo(place.gutter, y);
      pen.lineTo(width - place.right, y);
      pen.stroke();
    });
    // Time.
    const { step, out } = ticks(view.from, view.to, (width - place.gutter) / 110);
    if (scale) {
      out.length = 0;
      for (let x = place.gutter + 50; x < width - 40; x += 110) out.push(timeAt(x, place));
    }
    pen.textAlign = "center";
    for (const at of out) {
      const x = xOf(at, place);
      pen.strokeStyle = colours.line;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x, place.top - 4);
      pen.lineTo(x, floor);
      pen.stroke();
      pen.fillStyle = colours.soft;
      pen.fillText(scale ? (at / 1e6).toFixed(4) + " s" : tickName(at, step), clamp(x, place.gutter + 24, width - 34), floor + 13);
    }
    pen.save();
    pen.beginPath();
    pen.rect(place.gutter - 6, 0, width - place.gutter + 6, height);
    pen.clip();
    // Bands.
    const labels = [];
    for (const band of run.recording.bands) {
      if (band.to < view.from || band.from > view.to) continue;
      const [x0, x1] = [inside(xOf(band.from, place)), inside(xOf(band.to, place))];
      const [y, tall] = [yOf(band.lane, place) - place.row / 2 + 2, place.row - 4];
      const wide = Math.max(2, x1 - x0);
      pen.globalAlpha = band.is_fault ? 0.26 : band.text === "down" ? 0.3 : 0.14;
      pen.fillStyle = band.is_fault ? colours.fault : colours.soft;
      pen.fillRect(x0, y, wide, tall);
      pen.globalAlpha = 0.55;
      if (band.is_fault || band.text === "down") hatch(pen, x0, y, wide, tall, band.is_fault ? colours.fault : colours.soft, band.is_fault ? 9 : 5);
      pen.globalAlpha = 1;
      if (pen.measureText(band.text).width + 8 < wide) labels.push([band.text, x0 + 4, y + 8]);
    }
    // Events.
    const done = new Set();
    const strong = [];
    let visible = 0;
    events.forEach((event, index) => {
      if (event.at < view.from || begin(event) > view.to || !shown(event)) return;
      visible += 1;
      if (index === selected || index === hovered || (message !== null && isAbout(event, message))) {
        strong.push(event);
        return;
      }
      // What would cover the same pixels is drawn once.
      const key = event.kind + "|" + event.lane + "|" + event.to + "|" + Math.round(xOf(begin(event), place)) + "|" + Math.round(xOf(event.at, place)) + "|" + (event.fate || "");
      if (done.has(key)) return;
      done.add(key);
      pen.globalAlpha = event.fate === "lost" ? 0.9 : message === null ? 0.7 : 0.3;
      drawEvent(pen, event, place, false);
    });
    pen.globalAlpha = 1;
    for (const event of strong) drawEvent(pen, event, place, true);
    pen.textAlign = "left";
    for (const [text, x, y] of labels) {
      pen.fillStyle = colours.card;
      pen.globalAlpha = 0.85;
      pen.fillRect(x - 2, y - 7, pen.measureText(text).width + 4, 14);
      pen.globalAlpha = 1;
      pen.fillStyle = colours.ink;
      pen.fillText(text, x, y);
    }
    // The failure, and the moment looked at.
    if (cause && cause.at >= view.from && cause.at <= view.to) {
      const x = xOf(cause.at, place);
      pen.strokeStyle = colours.bad;
      pen.lineWidth = 2;
      pen.setLineDash([5, 3]);
      pen.beginPath();
      pen.moveTo(x, place.top - 4);
      pen.lineTo(x, floor);
      pen.stroke();
      pen.setLineDash([]);
      pen.fillStyle = colours.bad;
      pen.font = "bold 12px system-ui, 'DejaVu Sans', sans-serif";
      pen.textAlign = x > width / 2 ? "right" : "left";
      pen.fillText("✗ here it breaks", x, 10);
      pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    }
    if (moment >= view.from && moment <= view.to) {
      const x = xOf(moment, place);
      pen.strokeStyle = colours.ink;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x, place.top - 2);
      pen.lineTo(x, floor);
      pen.stroke();
    }
    pen.restore();
    // Names, over what comes from the left.
    pen.textAlign = "right";
    lanes.forEach((lane, index) => {
      const y = yOf(index, place);
      pen.fillStyle = lane.kind === "client" ? colours.card : colours.faint;
      pen.fillRect(0, y - place.row / 2, place.gutter - 6, place.row);
      pen.fillStyle = colours.ink;
      pen.font = (lane.kind === "client" ? "" : "bold ") + (width < 560 ? "11px" : "12.5px") + " system-ui, 'DejaVu Sans', sans-serif";
      pen.fillText(lane.name, place.gutter - 12, y);
    });
    $("diagram").dataset.visible = visible;
  };

  const drawEvent = (pen, event, place, isStrong) => {
    const style = KINDS[event.kind];
    const [x0, x1, y] = [xOf(begin(event), place), xOf(event.at, place), yOf(event.lane, place)];
    if (event.to !== undefined) {
      arrow(pen, x0, y, x1, yOf(event.to, place), event.kind, isStrong, event.fate === "lost", event.fate === "underway");
      return;
    }
    pen.fillStyle = pen.strokeStyle = colours[style.tone];
    if (event.kind === "disk") {
      pen.fillRect(x0, y - 4, Math.max(1.5, x1 - x0), 8);
      if (event.fate === "lost") cross(pen, x1, y, 5, colours.bad);
      return;
    }
    if (event.kind === "broken" || event.kind === "log-lost") {
      cross(pen, x1, y, event.kind === "broken" ? 9 : 6, colours.bad);
      return;
    }
    const size = isStrong ? 8.5 : event.kind === "node" ? 5 : 3.5;
    if (event.kind === "node" || event.kind.startsWith("fault")) {
      pen.beginPath();
      pen.moveTo(x1, y - size - 4);
      pen.lineTo(x1 + size, y);
      pen.lineTo(x1, y + size + 4);
      pen.lineTo(x1 - size, y);
      pen.fill();
      return;
    }
    pen.beginPath();
    pen.arc(x1, y, size, 0, 2 * Math.PI);
    pen.fill();
    if (isStrong) {
      pen.fillStyle = colours.card;
      pen.textAlign = "center";
      pen.font = "bold 10px system-ui, 'DejaVu Sans', sans-serif";
      pen.fillText(style.mark, x1, y + 0.5);
      pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    }
  };

  const drawOverview = () => {
    const { pen, width, height } = fitted($("overview"), 44);
    const x = (at) => Math.min(1, at / busy) * width;
    const bins = new Array(Math.max(1, Math.floor(width / 3))).fill(0);
    for (const event of events) bins[Math.min(bins.length - 1, Math.floor((event.at / busy) * bins.length))] += 1;
    const most = Math.log2(1 + Math.max(...bins));
    pen.fillStyle = colours.said;
    pen.globalAlpha = 0.6;
    bins.forEach((count, at) => {
      const tall = (Math.log2(1 + count) / most) * 26;
      pen.fillRect(at * 3, 31 - tall, 2.4, tall);
    });
    pen.globalAlpha = 1;
    for (const band of run.recording.bands) {
      pen.fillStyle = band.is_fault ? colours.fault : colours.soft;
      pen.fillRect(x(band.from), band.is_fault ? 33 : 38, Math.max(2, x(band.to) - x(band.from)), 4);
    }
    if (cause) cross(pen, clamp(x(cause.at), 6, width - 6), 10, 5, colours.bad);
    pen.fillStyle = colours.publish;
    pen.globalAlpha = 0.16;
    const [from, to] = [x(view.from), x(view.to)];
    pen.fillRect(from, 0, Math.max(3, to - from), height);
    pen.globalAlpha = 1;
    pen.strokeStyle = colours.publish;
    pen.lineWidth = 1.5;
    pen.strokeRect(from, 0.75, Math.max(3, to - from), height - 1.5);
  };

  const drawLegend = () => {
    const items = Object.entries(KINDS).filter(([, style]) => style.name).map(([kind, style]) => [style.name, (pen) => arrow(pen, 1, 7, 32, 7, kind, false, false)]);
    items.push(["lost on its way", (pen) => arrow(pen, 1, 7, 32, 7, "publish", false, true)]);
    items.push(["fault", (pen) => { pen.globalAlpha = 0.4; pen.fillStyle = colours.fault; pen.fillRect(0, 0, 34, 14); pen.globalAlpha = 0.8; hatch(pen, 0, 0, 34, 14, colours.fault, 9); }]);
    items.push(["node down", (pen) => { pen.globalAlpha = 0.35; pen.fillStyle = colours.soft; pen.fillRect(0, 0, 34, 14); pen.globalAlpha = 0.8; hatch(pen, 0, 0, 34, 14, colours.soft, 5); }]);
    items.push(["disk at work", (pen) => { pen.fillStyle = colours.said; pen.fillRect(4, 3, 26, 8); }]);
    $("legend").replaceChildren(...items.map(([name, draw]) => {
      const canvas = make("canvas", { width: 68, height: 28, ariaHidden: "true" });
      const pen = canvas.getContext("2d");
      pen.scale(2, 2);
      draw(pen);
      return make("li", {}, canvas, name);
    }));
  };

  const nearest = (x, y) => {
    const place = layout();
    let [best, distance] = [-1, 10];
    events.forEach((event, index) => {
      if (event.at < view.from || begin(event) > view.to || !shown(event)) return;
      const [x0, x1, y0] = [xOf(begin(event), place), xOf(event.at, place), yOf(event.lane, place)];
      const y1 = event.to === undefined ? y0 : yOf(event.to, place);
      const [dx, dy] = [x1 - x0, y1 - y0];
      const share = dx || dy ? clamp(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1) : 0;
      let far = Math.hypot(x - x0 - share * dx, y - y0 - share * dy);
      if (message !== null && isAbout(event, message)) far -= 3;
      if (far < distance) [best, distance] = [index, far];
    });
    return best;
  };

  const describe = (index) => {
    const event = events[index];
    if (!event) return "Click an event, or step through them with N and P. Drag to move in time; + and − zoom.";
    const parts = [event.from === undefined || event.from === event.at ? seconds(event.at) : seconds(event.from) + " to " + seconds(event.at)];
    parts.push(event.text);
    if (event.fate === "lost") parts.push(event.to === undefined ? "(never done)" : "(lost on its way)");
    if (event.fate === "underway") parts.push("(not over when the run ended)");
    if (event.queue) parts.push("· queue " + event.queue);
    if (event.channel) parts.push("· channel " + event.channel.join("/"));
    if (event.tag !== undefined) parts.push("· tag " + event.tag);
    return parts.join(" ");
  };

  // --- the message's life

  const showLife = () => {
    const mine = events.map((event, index) => [event, index]).filter(([event]) => message !== null && isAbout(event, message));
    const first = mine.length ? begin(mine[0][0]) : 0;
    const last = mine.length ? mine[mine.length - 1][0].at : 0;
    const broke = cause && cause.messages.includes(message) ? cause.at : null;
    const all = events.map((event, index) => [event, index]).filter(([event]) => message !== null &&
      (isAbout(event, message) || (WHOLE.includes(event.kind) && event.at >= first && event.at <= Math.max(last, broke ?? 0))));
    all.sort(([a, i], [b, j]) => lifeTime(a) - lifeTime(b) || i - j);
    const stages = make("li", { className: "gap" });
    stages.dataset.mark = "#";
    const reached = STAGES.filter(([kind]) => mine.some(([event]) => event.kind === kind && event.fate !== "lost"));
    if (mine.length === 0) stages.textContent = message === null ? "No single message is in question. Give the number of any." : "Nothing is known of this message.";
    else stages.append(...STAGES.map((stage) => make("span", { className: reached.includes(stage) ? "stage" : "stage missing" }, (reached.includes(stage) ? "✓ " : "– ") + stage[1])));
    let before = null;
    const items = [stages];
    for (const [event, index] of all) {
      const at = lifeTime(event);
      const pause = before === null ? 0 : at - before;
      before = at;
      const item = make("li", {}, make("time", {}, seconds(at)), event.text);
      if (event.fate === "lost") item.append(event.to === undefined ? " — never done" : " — lost on its way");
      if (event.from !== undefined && event.to !== undefined && !event.fate && event.at > at) item.append(make("span", { className: "gap" }, " · arrives after " + span(event.at - event.from)));
      if (pause >= 1000) item.append(make("span", { className: "gap" }, " · " + span(pause) + " later"));
      item.dataset.mark = event.fate === "lost" ? "✗" : KINDS[event.kind].mark;
      item.style.setProperty("--tone", colours[event.fate === "lost" ? "bad" : KINDS[event.kind].tone]);
      item.className = event.kind === "broken" ? "broken" : isAbout(event, message) ? "" : "whole";
      item.onclick = () => select(index, true);
      items.push(item);
    }
    $("life").replaceChildren(...items);
    if (document.activeElement !== $("message")) $("message").value = message ?? "";
    $("only-name").textContent = message === null ? "this message" : "message #" + message;
  };
  // Deliveries and confirms are decided when they set out; a publish counts when it arrives, after it was sent.
  const lifeTime = (event) => event.to === undefined ? event.at : begin(event);
  const span = (us) => us >= 1e6 ? (us / 1e6).toFixed(2) + " s" : us >= 1000 ? (us / 1000).toFixed(1) + " ms" : us + " µs";

  const numbers = () => {
    const known = new Set();
    for (const event of events) for (const number of event.messages || []) known.add(number);
    return [...known].sort((a, b) => a - b);
  };
  const pickMessage = (number) => {
    message = number;
    makeScale();
    showLife();
    drawDiagram();
  };
  const stepMessage = (by) => {
    const known = numbers();
    const at = known.indexOf(message);
    if (known.length) pickMessage(known[clamp(at < 0 ? 0 : at + by, 0, known.length - 1)]);
  };

  // --- the state

  const lookAt = (at) => {
    let found = null;
    for (const look of run.recording.looks) {
      if (look.at > at) break;
      found = look;
    }
    return found;
  };
  const bytes = (count) => count >= 1 << 20 ? (count / (1 << 20)).toFixed(1) + " MiB" : count >= 1024 ? (count / 1024).toFixed(1) + " KiB" : count + " B";

  const showState = () => {
    const look = lookAt(moment);
    $("state-time").textContent = seconds(moment);
    $("scrubber").value = moment;
    if (!look) {
      $("state").textContent = "The node is not there yet.";
      return;
    }
    const most = Math.max(1, ...look.queues.map((queue) => queue.ready + queue.unacked));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...["queue", "ready", "unacked", "consumers", ""].map((name) => make("th", { scope: "col" }, name)))));
    const body = make("tbody");
    for (const queue of look.queues) {
      const bar = make("td", { className: "bar" });
      for (const name of ["ready", "unacked"]) {
        const part = make("span", { className: name, title: name });
        part.style.width = (queue[name] / most) * 96 + "%";
        bar.append(part);
      }
      body.append(make("tr", {}, make("td", {}, queue.name), ...["ready", "unacked", "consumers"].map((name) => make("td", {}, String(queue[name]))), bar));
    }
    table.append(body);
    const gauge = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
    const blocked = look.blocked.map((lane) => lanes[lane] ? lanes[lane].name : "?").join(", ");
    const gauges = make("dl", { className: "gauges" }, gauge("node", look.node), gauge("connections", String(look.connections)), gauge("bodies in memory", bytes(look.body_bytes)),
      gauge("for clients", bytes(look.outbox_bytes)), gauge("segments", String(look.segments)), gauge("live log", bytes(look.live_bytes)), gauge("blocked", blocked || "nobody"));
    $("state").replaceChildren(...(look.queues.length ? [table] : []), gauges);
  };

  const drawSparks = () => {
    const { pen, width } = fitted($("sparks"), 150);
    const looks = run.recording.looks;
    const rows = [["ready", "publish", (look) => look.queues.reduce((sum, queue) => sum + queue.ready, 0), String],
      ["unacked", "ack", (look) => look.queues.reduce((sum, queue) => sum + queue.unacked, 0), String], ["memory", "violet", (look) => look.body_bytes, bytes],
      ["segments", "deliver", (look) => look.segments, String]];
    const x = (at) => 66 + Math.min(1, at / busy) * (width - 66 - 62);
    rows.forEach(([name, tone, value, text], index) => {
      const [top, tall] = [index * 37 + 5, 27];
      const values = looks.map(value);
      const most = Math.max(1, ...values);
      pen.fillStyle = colours.soft;
      pen.textAlign = "left";
      pen.fillText(name, 2, top + tall / 2);
      pen.fillText(text(Math.max(0, ...values)), width - 56, top + 6);
      pen.strokeStyle = colours.line;
      pen.lineWidth = 1;
      pen.strokeRect(66, top, width - 66 - 62, tall);
      pen.strokeStyle = colours[tone];
      pen.lineWidth = 1.5;
      pen.beginPath();
      looks.forEach((look, at) => {
        const y = top + tall - (values[at] / most) * (tall - 2);
        if (at === 0) pen.moveTo(x(look.at), y);
        else {
          pen.lineTo(x(look.at), top + tall - (values[at - 1] / most) * (tall - 2));
          pen.lineTo(x(look.at), y);
        }
      });
      pen.stroke();
    });
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x(moment), 2);
    pen.lineTo(x(moment), 148);
    pen.stroke();
    if (cause) cross(pen, x(cause.at), 145, 4, colours.bad);
  };

  // --- the list

  const firstAfter = (at) => {
    let [low, high] = [0, events.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (events[middle].at < at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const showEvents = () => {
    const centre = selected >= 0 ? selected : firstAfter(moment);
    const rows = [];
    for (let index = Math.max(0, centre - 25); index < Math.min(events.length, centre + 26); index++) {
      const event = events[index];
      const note = event.fate === "lost" ? " ✗ lost" : event.fate === "underway" ? " … under way" : "";
      const row = make("tr", { className: (index === selected ? "now " : "") + (event.kind === "broken" ? "broken" : event.fate || "") },
        make("td", {}, seconds(event.at)), make("td", {}, lanes[event.lane].name), make("td", {}, event.text + note));
      row.onclick = () => select(index, false);
      rows.push(row);
    }
    const body = $("events").tBodies[0];
    body.replaceChildren(...rows);
    const now = body.querySelector(".now");
    const box = body.closest(".scroll");
    if (now) box.scrollTop = now.offsetTop - box.clientHeight / 2;
  };

  // --- moving about

  const setView = (from, to) => {
    const wide = clamp(to - from, 50, Math.max(50, end * 1.04));
    const start = clamp(from, -end * 0.02, Math.max(-end * 0.02, end * 1.02 - wide));
    view = { from: start, to: start + wide };
    drawDiagram();
    drawOverview();
  };
  const zoom = (factor, around) => {
    const [from, to] = [spread(view.from), spread(view.to)];
    const isSeen = selected >= 0 && events[selected].at >= view.from && events[selected].at <= view.to;
    const at = around !== undefined ? spread(around) : isSeen ? spread(events[selected].at) : (from + to) / 2;
    setView(moments(at - (at - from) * factor), moments(at + (to - at) * factor));
  };
  const pan = (by, base) => {
    const [from, to] = [spread(base.from), spread(base.to)];
    setView(moments(from + by * (to - from)), moments(to + by * (to - from)));
  };
  const setMoment = (at) => {
    moment = clamp(Math.round(at), 0, end);
    showState();
    drawSparks();
    drawDiagram();
  };
  const select = (index, moves) => {
    selected = index;
    const event = events[index];
    $("detail").textContent = describe(index);
    if (event) {
      if (event.messages && event.messages.length && !isAbout(event, message)) {
        message = event.messages[0];
        makeScale();
        showLife();
      }
      if (moves && (event.at < view.from || event.at > view.to)) {
        const wide = view.to - view.from;
        setView(event.at - wide / 2, event.at + wide / 2);
      }
      setMoment(event.at);
    }
    drawDiagram();
    showEvents();
  };
  const step = (by) => {
    let index = selected >= 0 ? selected + by : firstAfter(moment);
    while (events[index] && !shown(events[index])) index += by;
    if (events[index]) select(index, true);
  };
  const around = (first, last) => {
    const margin = scale ? (spread(last) - spread(first)) * 0.04 : Math.max((last - first) * 0.06, 400);
    setView(moments(spread(first) - margin), moments(spread(last) + margin));
  };
  const jump = () => {
    const broken = events.findIndex((event) => event.kind === "broken");
    const at = cause ? cause.at : end;
    const near = Math.min(at, busy);
    around(near - 10000, near + 2000);
    if (broken >= 0) select(broken, false);
  };
  // All of a message's life, and the moment at which it all breaks if it is about that.
  const fitMessage = () => {
    const mine = events.filter((event) => message !== null && isAbout(event, message));
    if (mine.length === 0) return jump();
    around(Math.min(...mine.map(begin)), Math.max(...mine.map((event) => event.at)));
  };

  const show = (index) => {
    run = data.runs[index];
    ({ events, lanes, end, cause } = run.recording);
    end = Math.max(end, 1);
    const last = events.findLast((event) => event.kind !== "broken" && event.fate !== "underway");
    busy = last && last.at * 2 < end ? Math.max(1, last.at * 1.03) : end;
    selected = hovered = -1;
    const story = run.explanation;
    message = story.messages.length ? story.messages[0] : null;
    for (const [id, text] of Object.entries({ happened: story.happened, subject: story.subject, expected: story.expected, actual: story.actual, repeat: story.repeat, trace: run.trace, time: seconds(end) })) {
      $(id).textContent = text;
    }
    $("story").replaceChildren(...story.lines.map((line) => {
      const item = make("li", { className: line.is_break ? "break" : "", tabIndex: 0 }, make("time", {}, seconds(line.at)), " " + line.text);
      const go = () => {
        const found = events.findIndex((event) => (event.text === line.text || line.text.startsWith(event.text)) && (event.at === line.at || event.from === line.at));
        if (found >= 0) select(found, true);
        else setMoment(line.at);
      };
      item.dataset.at = line.at;
      item.onclick = go;
      item.onkeydown = (event) => { if (event.key === "Enter") go(); };
      return item;
    }));
    for (const button of $("runs").children) button.setAttribute("aria-pressed", String(button.value === String(index)));
    $("scrubber").max = Math.round(busy);
    $("scrubber").step = Math.max(1, Math.floor(busy / 4000));
    $("message-picks").replaceChildren(...story.messages.map((number) => make("button", { type: "button", onclick: () => pickMessage(number) }, "#" + number + " of the failure")));
    const faults = events.filter((event) => event.kind === "fault-begins");
    $("faults").replaceChildren(...faults.slice(0, 60).map((event) => make("li", {}, seconds(event.at) + " " + event.text.replace("fault: ", "") + " (" + lanes[event.lane].name + ")")));
    if (faults.length === 0) $("faults").replaceChildren(make("li", {}, "none"));
    for (const name of ["judged", "situations"]) {
      const tried = run[name].filter(([, count]) => count > 0);
      $(name).replaceChildren(...tried.map(([what, count]) => make("li", {}, make("span", {}, what), make("span", {}, String(count)))));
      if (tried.length < run[name].length) $(name).append(make("li", { className: "none" }, make("span", {}, (run[name].length - tried.length) + " others"), make("span", {}, "0")));
    }
    showLife();
    $("even").checked = story.messages.length > 0;
    makeScale();
    jump();
    if (story.messages.length) fitMessage();
    else $("fit").onclick();
    $("only").checked = false;
    if (story.messages.length && events.filter((event) => event.at >= view.from && begin(event) <= view.to).length > 1500) $("only").checked = true;
    if (selected < 0) {
      $("detail").textContent = describe(-1);
      setMoment(cause ? cause.at : end);
      showEvents();
    }
    drawOverview();
    if (run.recording.left_out) $("detail").textContent += " (" + run.recording.left_out + " older events are left out of this page.)";
  };

  const redraw = () => {
    readColours();
    drawLegend();
    drawDiagram();
    drawOverview();
    drawSparks();
  };

  // --- hands

  $("copy").onclick = async () => {
    try {
      await navigator.clipboard.writeText($("repeat").textContent);
    } catch {
      getSelection().selectAllChildren($("repeat"));
      document.execCommand("copy");
    }
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  };
  $("zoom-in").onclick = () => zoom(0.6);
  $("zoom-out").onclick = () => zoom(1 / 0.6);
  $("fit").onclick = () => setView(-busy * 0.02, busy * 1.02);
  $("jump").onclick = jump;
  $("whole-life").onclick = fitMessage;
  $("previous").onclick = () => step(-1);
  $("next").onclick = () => step(1);
  $("only").onchange = drawDiagram;
  $("even").onchange = () => { makeScale(); drawDiagram(); };
  $("message").onchange = () => {
    const number = Number.parseInt($("message").value.replace("#", ""), 10);
    if (Number.isInteger(number)) pickMessage(number);
  };
  $("message-previous").onclick = () => stepMessage(-1);
  $("message-next").onclick = () => stepMessage(1);
  $("scrubber").oninput = () => { selected = -1; setMoment(Number($("scrubber").value)); showEvents(); };
  const fromSparks = (event) => {
    const box = $("sparks").getBoundingClientRect();
    selected = -1;
    setMoment(((event.clientX - box.left - 66) / (box.width - 66 - 62)) * busy);
    showEvents();
  };
  $("sparks").onclick = fromSparks;
  const fromOverview = (event) => {
    const box = $("overview").getBoundingClientRect();
    const [at, wide] = [((event.clientX - box.left) / box.width) * busy, view.to - view.from];
    setView(at - wide / 2, at + wide / 2);
  };
  $("overview").onpointerdown = (event) => { $("overview").setPointerCapture(event.pointerId); fromOverview(event); };
  $("overview").onpointermove = (event) => { if (event.buttons) fromOverview(event); };

  const canvas = $("diagram");
  let drag = null;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    drag = { x: event.clientX, from: view.from, to: view.to, moved: false };
  };
  canvas.onpointermove = (event) => {
    const box = canvas.getBoundingClientRect();
    if (drag) {
      const place = layout();
      const by = (event.clientX - drag.x) / (place.width - place.gutter - place.right);
      drag.moved ||= Math.abs(event.clientX - drag.x) > 4;
      if (drag.moved) pan(-by, drag);
      return;
    }
    const found = nearest(event.clientX - box.left, event.clientY - box.top);
    canvas.style.cursor = found >= 0 ? "pointer" : "grab";
    if (found !== hovered) {
      hovered = found;
      $("detail").textContent = describe(found >= 0 ? found : selected);
      drawDiagram();
    }
  };
  canvas.onpointerup = (event) => {
    const box = canvas.getBoundingClientRect();
    if (drag && !drag.moved) {
      const found = nearest(event.clientX - box.left, event.clientY - box.top);
      if (found >= 0) select(found, false);
      else setMoment(timeAt(event.clientX - box.left, layout()));
    }
    drag = null;
  };
  canvas.onpointerleave = () => { if (hovered >= 0) { hovered = -1; drawDiagram(); } };
  canvas.addEventListener("wheel", (event) => {
    const isZoom = event.ctrlKey || event.metaKey || (document.activeElement === canvas && Math.abs(event.deltaY) > Math.abs(event.deltaX));
    if (!isZoom && event.deltaX === 0) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    if (isZoom) zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, timeAt(event.clientX - box.left, layout()));
    else pan(event.deltaX / box.width, view);
  }, { passive: false });
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), "0": () => $("fit").onclick(), f: jump, m: fitMessage, n: () => step(1), p: () => step(-1),
    };
    const arrows = { ArrowLeft: () => pan(-1 / 8, view), ArrowRight: () => pan(1 / 8, view) };
    const act = keys[event.key.toLowerCase()] || (document.activeElement === canvas ? arrows[event.key] : undefined);
    if (act) {
      event.preventDefault();
      act();
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { redraw(); showLife(); });
  new ResizeObserver(() => requestAnimationFrame(redraw)).observe(canvas.parentElement);

  // --- go

  readColours();
  document.body.classList.add("ready");
  if (data.runs.length > 1) {
    $("runs").hidden = false;
    $("runs").append(...data.runs.map((item, index) => make("button", { type: "button", value: String(index), onclick: () => show(index) }, item.label + " (" + item.recording.events.length + " events)")));
  }
  show(0);
  drawLegend();
  document.body.dataset.state = "shown";
})();
