"use strict";
// The page of tvmkd serve: asks the server once a second and draws. No library.

const $ = (id) => document.getElementById(id);
const WINDOW_S = 60;
const state = { models: [], chosen: 0, points: new Map(), last: new Map(), token: "", since: 0 };

function element(tag, props = {}, ...children) {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children);
  return made;
}

async function ask(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (state.token) headers.Authorization = `Bearer ${state.token}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) throw Object.assign(new Error("the token is wrong"), { login: true });
  return response;
}

const key = (model) => `${model.name}/${model.version}`;
const milliseconds = (ms) =>
  ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms >= 1 ? ms.toFixed(2) : ms.toFixed(3);
const short = (n) => (n >= 1e6 ? `${(n / 1e6).toFixed(1)} M` : n >= 1e4 ? `${(n / 1e3).toFixed(1)} k` : `${n}`);

function quantile(sorted, q) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : null;
}

// Models, their cards, and how to ask them.

async function start() {
  state.token = sessionStorage.getItem("token") || "";
  try {
    await models();
    $("login").hidden = true;
    tick();
  } catch (error) {
    if (!error.login) {
      status("unreachable", "bad");
      setTimeout(start, 2000);
      return;
    }
    status("token needed", "bad");
    $("login").hidden = false;
    $("token").focus();
  }
}

async function models() {
  const chosen = state.models[state.chosen] && key(state.models[state.chosen]);
  state.models = await (await ask("/ui/models")).json();
  state.chosen = Math.max(0, state.models.findIndex((model) => key(model) === chosen));
  $("tabs").replaceChildren(
    ...(state.models.length < 2 ? [] : state.models.map((model, number) => {
      const tab = element("button", { type: "button", textContent: `${model.name} · ${model.version}` });
      tab.setAttribute("role", "tab");
      tab.onclick = () => { state.chosen = number; show(); };
      return tab;
    })));
  show();
}

function show() {
  const model = state.models[state.chosen];
  $("all").hidden = !model;
  $("title").textContent = model ? model.name : "No model is loaded";
  document.title = `${model ? model.name : "nothing"} · tvmkd serve`;
  if (!model) return;
  [...$("tabs").children].forEach((tab, n) => tab.setAttribute("aria-selected", n === state.chosen));
  const shape = (each) => `${each.name} ${each.datatype} ${each.shape.map((n) => (n < 0 ? "?" : n)).join(" × ")}`;
  const facts = {
    Version: model.version,
    Inputs: model.inputs.map(shape).join(", "),
    Outputs: model.outputs.map(shape).join(", "),
    ...(model.classes.length ? { Classes: classesOf(model.classes) } : {}),
    ...model.facts,
  };
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [
    element("dt", { textContent: name }), element("dd", { textContent: value })]));
  const body = JSON.stringify({ inputs: model.inputs.map((each) => ({
    name: each.name, shape: each.shape.map((n) => Math.max(n, 1)), datatype: each.datatype, data: ["…"] })) });
  $("curl").textContent =
    `curl ${location.origin}/v2/models/${model.name}\n` +
    `curl ${location.origin}/v2/models/${model.name}/infer -d '${body.replace('["…"]', "[…]")}'`;
  offer(model);
  draw();
}

function classesOf(names) {
  const first = names.slice(0, 6).join(", ");
  return names.length > 6 ? `${names.length}: ${first}, …` : first;
}

// Live.

async function tick() {
  try {
    const found = await (await ask(`/ui/live?since=${state.since}`)).json();
    status("live", "good");
    let changed = found.models.length !== state.models.length;
    for (const model of found.models) {
      const name = key(model);
      const points = (state.points.get(name) || []).concat(model.points);
      const newest = points.length ? points[points.length - 1][0] : 0;
      if (model.points.length) state.since = Math.max(state.since, newest);
      state.points.set(name, points.slice(-6000));
      state.last.set(name, { ...model, at: performance.now(), before: state.last.get(name) });
      if (state.last.get(name).before) state.last.get(name).before.before = null;
      changed ||= !state.models.some((each) => key(each) === name);
    }
    if (changed) await models();
    board(found.board);
    draw();
  } catch (error) {
    if (error.login) { start(); return; }
    status("unreachable", "bad");
  }
  setTimeout(tick, document.hidden ? 4000 : 1000);
}

function status(text, mood) {
  $("status").textContent = text;
  $("status").className = `pill ${mood}`;
}

function board(facts) {
  const parts = [];
  if (facts.celsius !== undefined) parts.push(`${facts.celsius.toFixed(0)} °C`);
  if (facts.ghz !== undefined) parts.push(`${facts.ghz.toFixed(2)} GHz`);
  if (facts.watts !== undefined) parts.push(`${facts.watts.toFixed(1)} W`);
  if (facts.mode !== undefined) parts.push(`mode ${facts.mode}`);
  if (facts.throttled_by) parts.push(`throttled: ${facts.throttled_by.join(", ")}`);
  $("board").textContent = parts.join(" · ");
}

function draw() {
  const model = state.models[state.chosen];
  const live = model && state.last.get(key(model));
  if (!live) return;
  const now = Date.now() / 1000;
  const points = (state.points.get(key(model)) || []).filter((point) => point[0] > now - WINDOW_S);
  const sorted = points.map((point) => point[1]).sort((a, b) => a - b);
  const [p50, p99] = [quantile(sorted, 0.5), quantile(sorted, 0.99)];
  const before = live.before;
  const rate = before ? (live.answered - before.answered) / ((live.at - before.at) / 1000) : 0;
  const refused = Object.values(live.errors).reduce((sum, n) => sum + n, 0);
  const tile = (value, label, mood = "") =>
    element("div", { className: `tile ${mood}` },
      element("b", { textContent: value }), element("span", { textContent: label }));
  const why = Object.entries(live.errors).map(([kind, n]) => `${kind.replaceAll("_", " ")} ${n}`).join(", ");
  $("tiles").replaceChildren(
    tile(p50 === null ? "–" : `${milliseconds(p50)} ms`, "median of the last minute"),
    tile(p99 === null ? "–" : `${milliseconds(p99)} ms`, "p99"),
    tile(rate >= 10 ? rate.toFixed(0) : rate.toFixed(1), `requests a second; ${short(live.requests)} in all`),
    tile(live.queue, `waiting for ${live.instances} ${live.instances === 1 ? "instance" : "instances"}`,
      live.ready ? "" : "bad"),
    tile(short(refused), refused ? `without a result: ${why}` : "without a result", refused ? "bad" : "good"),
    ...(live.misses ? [tile(short(live.misses), "missed their deadline", "bad")] : []),
    ...(live.restarts ? [tile(live.restarts, "crashed instances, started again", "bad")] : []));
  plot(points, now, p50, p99);
}

function plot(points, now, p50, p99) {
  const canvas = $("plot"), ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const left = 52, right = 14, top = 10, bottom = 26;
  const most = points.reduce((max, point) => Math.max(max, point[1]), 0) || 1;
  const least = points.reduce((min, point) => Math.min(min, point[1]), most);
  // Logarithmic, because a few slow ones must not flatten the rest.
  const low = Math.log10(least / 1.6), high = Math.log10(most * 1.4);
  const x = (at) => left + (width - left - right) * (1 - (now - at) / WINDOW_S);
  const y = (ms) => top + (height - top - bottom) * (1 - (Math.log10(ms) - low) / (high - low));
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (let power = -4; power < 6; power += 1) {
    for (const digit of high - low > 2 ? [1] : [1, 2, 5]) {
      const ms = digit * 10 ** power;
      if (Math.log10(ms) < low || Math.log10(ms) > high) continue;
      pen.strokeStyle = colour("--rule");
      pen.beginPath(); pen.moveTo(left, y(ms)); pen.lineTo(width - right, y(ms)); pen.stroke();
      pen.fillStyle = colour("--muted");
      pen.fillText(`${Number(ms.toPrecision(1))} ms`, left - 8, y(ms));
    }
  }
  pen.textAlign = "center";
  for (let ago = 0; ago <= WINDOW_S; ago += 15) {
    pen.fillStyle = colour("--muted");
    const label = ago ? `−${ago} s` : "now";
    pen.textAlign = ago === 0 ? "right" : ago === WINDOW_S ? "left" : "center";
    pen.fillText(label, x(now - ago), height - 10);
  }
  pen.fillStyle = colour("--accent");
  pen.globalAlpha = points.length > 800 ? 0.35 : 0.75;
  for (const [at, ms] of points) {
    pen.beginPath(); pen.arc(x(at), y(ms), 2.2, 0, 7); pen.fill();
  }
  pen.globalAlpha = 1;
  if (!points.length) {
    pen.textAlign = "center";
    pen.fillStyle = colour("--muted");
    pen.fillText("No request in the last minute. Try one below.", width / 2, height / 2 - 8);
    return;
  }
  for (const [ms, text] of [[p50, "median"], [p99, "p99"]]) {
    pen.strokeStyle = colour("--mark");
    pen.setLineDash([5, 4]);
    pen.beginPath(); pen.moveTo(left, y(ms)); pen.lineTo(width - right, y(ms)); pen.stroke();
    pen.setLineDash([]);
    pen.textAlign = "right";
    const label = `${text} ${milliseconds(ms)} ms`;
    const wide = pen.measureText(label).width;
    pen.fillStyle = colour("--surface");
    pen.fillRect(width - right - wide - 4, y(ms) - 17, wide + 4, 16);
    pen.fillStyle = colour("--mark");
    pen.fillText(label, width - right, y(ms) - 9);
  }
}

// Try it.

function offer(model) {
  const place = $("try"), answer = element("div", { className: "answer", id: "answer" });
  answer.setAttribute("aria-live", "polite");
  const random = element("button", { type: "button", textContent: "Run on random values" });
  random.onclick = () => run(model, model.inputs.map(noise), answer);
  if (!model.image) {
    place.replaceChildren(
      element("p", { className: "muted", textContent: "The model's input is no picture." }), random, answer);
    return;
  }
  const spec = model.image;
  const picture = element("canvas", { width: spec.width, height: spec.height, id: "picture" });
  const file = element("input", { type: "file", accept: "image/*", hidden: true, id: "file" });
  const text = element("span", {
    textContent: `Drop a picture here, or click to choose one. It is resized to ${spec.width} × ${spec.height} in this browser.` });
  const drop = element("label", { className: "drop" }, picture, text, file);
  const invert = element("input", { type: "checkbox" });
  const range = element("select", { title: "What the model was trained on" },
    ...[[spec.trained ? "as trained" : "0 to 1", "model"], ["0 to 1", "unit"], ["0 to 255", "bytes"],
      ["−1 to 1", "signed"], ["ImageNet's mean and deviation", "imagenet"]]
      .filter(([label], n) => n !== 1 || spec.trained)
      .map(([label, value]) => element("option", { textContent: label, value })));
  let bitmap = null;
  const again = () => bitmap && run(model, [pixels(bitmap, picture, spec, range.value, invert.checked)], answer);
  const take = async (blob) => {
    try {
      bitmap = await createImageBitmap(blob);
      text.textContent = blob.name || "picture";
      again();
    } catch {
      answer.replaceChildren(element("p", { className: "bad", textContent: "This file is no picture that the browser knows." }));
    }
  };
  file.onchange = () => file.files[0] && take(file.files[0]);
  range.onchange = invert.onchange = again;
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  };
  const plain = model.inputs[0].datatype === "UINT8" ? [] : [element("label", {}, "Values ", range)];
  place.replaceChildren(drop, element("div", { className: "controls" }, ...plain,
    element("label", {}, invert, " inverted"), random), answer);
}

function pixels(bitmap, canvas, spec, range, inverted) {
  const { width, height, channels } = spec;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, width, height);
  if (spec.crop) {
    const scale = Math.max(width / bitmap.width, height / bitmap.height);
    const [w, h] = [bitmap.width * scale, bitmap.height * scale];
    pen.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  } else {
    pen.drawImage(bitmap, 0, 0, width, height);
  }
  const picture = pen.getImageData(0, 0, width, height);
  const rgba = picture.data;
  if (inverted) {
    for (let i = 0; i < rgba.length; i += 1) if (i % 4 !== 3) rgba[i] = 255 - rgba[i];
    pen.putImageData(picture, 0, 0);
  }
  const [mean, std] = {
    model: [spec.mean, spec.std], unit: [[0, 0, 0], [1, 1, 1]], bytes: [[0, 0, 0], [1, 1, 1]],
    signed: [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]], imagenet: [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]],
  }[range];
  const scale = range === "bytes" || (range === "model" && !spec.unit) ? 1 : 1 / 255;
  const bytes = spec.datatype === "UINT8", count = width * height;
  const made = bytes ? new Uint8Array(channels * count) : new Float32Array(channels * count);
  for (let at = 0; at < count; at += 1) {
    const [r, g, b] = [rgba[4 * at], rgba[4 * at + 1], rgba[4 * at + 2]];
    const values = channels === 1 ? [0.299 * r + 0.587 * g + 0.114 * b] : [r, g, b];
    for (let c = 0; c < channels; c += 1) {
      const place = spec.layout === "NCHW" ? c * count + at : at * channels + c;
      made[place] = bytes ? values[c] : (values[c] * scale - mean[c]) / std[c];
    }
  }
  return made;
}

const ARRAYS = {
  BOOL: Uint8Array, UINT8: Uint8Array, UINT16: Uint16Array, UINT32: Uint32Array, INT8: Int8Array,
  INT16: Int16Array, INT32: Int32Array, FP32: Float32Array, FP64: Float64Array,
  INT64: BigInt64Array, UINT64: BigUint64Array, FP16: Uint16Array, BF16: Uint16Array,
};
const size = (shape) => shape.reduce((product, n) => product * Math.max(n, 1), 1);

function noise(input) {
  const kind = ARRAYS[input.datatype], made = new kind(size(input.shape));
  for (let i = 0; i < made.length; i += 1) {
    if (input.datatype.startsWith("FP")) made[i] = Math.random();
    else made[i] = kind === BigInt64Array || kind === BigUint64Array ? 1n : input.datatype === "BOOL" ? i % 2 : 1;
  }
  return made;
}

async function run(model, arrays, answer) {
  const head = new TextEncoder().encode(JSON.stringify({
    inputs: model.inputs.map((input, n) => ({
      name: input.name, datatype: input.datatype, shape: input.shape.map((s) => Math.max(s, 1)),
      parameters: { binary_data_size: arrays[n].byteLength } })),
    parameters: { binary_data_output: true } }));
  const begun = performance.now();
  try {
    const response = await ask(`/v2/models/${model.name}/versions/${model.version}/infer`, {
      method: "POST", body: new Blob([head, ...arrays]),
      headers: { "Inference-Header-Content-Length": head.length } });
    const data = await response.arrayBuffer();
    const took = performance.now() - begun;
    if (!response.ok) throw new Error(JSON.parse(new TextDecoder().decode(data)).error);
    const length = Number(response.headers.get("Inference-Header-Content-Length"));
    const described = JSON.parse(new TextDecoder().decode(data.slice(0, length)));
    let at = length;
    const outputs = described.outputs.map((output) => {
      const bytes = output.parameters.binary_data_size;
      const values = new ARRAYS[output.datatype](data.slice(at, at + bytes));
      at += bytes;
      return { ...output, values };
    });
    answer.replaceChildren(...outputs.flatMap((output) => shown(model, output)),
      element("p", { className: "muted", textContent: `${milliseconds(took)} ms, seen from this browser` }));
  } catch (error) {
    answer.replaceChildren(element("p", { className: "bad", textContent: error.message }));
  }
}

function shown(model, output) {
  const values = [...output.values].map(Number);
  const scores = model.classes.length
    ? values.length === model.classes.length
    : Boolean(model.image) && values.length > 1 && values.length <= 1001;
  if (scores && output.datatype.startsWith("FP") && output.shape.length <= 2 && !["FP16", "BF16"].includes(output.datatype)) {
    const most = Math.max(...values), sum = values.reduce((all, v) => all + v, 0);
    const odds = values.every((v) => v >= 0) && Math.abs(sum - 1) < 1e-3
      ? values : (() => { const e = values.map((v) => Math.exp(v - most)), s = e.reduce((a, b) => a + b, 0); return e.map((v) => v / s); })();
    return [...odds.keys()].sort((a, b) => odds[b] - odds[a]).slice(0, 5).map((n) => {
      const bar = element("i");
      bar.style.width = `${100 * odds[n]}%`;
      return element("div", { className: "row" }, element("span", { textContent: model.classes[n] ?? `class ${n}` }),
        bar, element("span", { textContent: `${(100 * odds[n]).toFixed(1)}%` }));
    });
  }
  const [least, most] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const first = values.slice(0, 8).map((v) => Number(v.toPrecision(4))).join(", ");
  return [element("p", {}, element("b", { textContent: output.name }),
    ` ${output.datatype} ${output.shape.join(" × ")}, from ${Number(least.toPrecision(4))} to ${Number(most.toPrecision(4))}: ${first}${values.length > 8 ? ", …" : ""}`)];
}

$("login").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  start();
};
addEventListener("resize", draw);
start();
