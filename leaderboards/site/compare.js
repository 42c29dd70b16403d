"use strict";
/* Two lines, item by item; compare.html needs it. */

/* The interval of sam_audio_bench.stats.paired: differences that swapping whole recordings does not reject, by the same ways. */
function interval(differences, groups, ways) {
  const members = new Map(), add = (values) => values.reduce((a, b) => a + b, 0);
  groups.forEach((group, place) => members.set(group, [...(members.get(group) || []), differences[place]]));
  const labels = [...members.keys()].sort(), sums = labels.map((label) => add(members.get(label)));
  const counts = labels.map((label) => members.get(label).length), whole = add(sums), items = add(counts);
  const negligible = 1e-12 * add(sums.map(Math.abs)), mean = (sum, count) => (Math.abs(sum) <= negligible ? 0 : sum) / count;
  const lesser = [], greater = [];
  for (const way of ways) {
    let sum = 0, count = 0;
    for (let place = 0; place < labels.length; place += 1) {
      if (way[place] === "1") {
        sum += sums[place];
        count += counts[place];
      }
    }
    const bare = count === 0 || count === items, means = bare ? [] : [mean(sum, count), mean(whole - sum, items - count)];
    lesser.push(bare ? -Infinity : Math.min(...means));
    greater.push(bare ? Infinity : Math.max(...means));
  }
  const needed = Math.ceil((1 - 0.95) * ways.length - 1e-9);
  lesser.sort((a, b) => a - b);
  greater.sort((a, b) => a - b);
  const low = lesser[needed - 1], high = greater[ways.length - needed], middle = add(differences) / differences.length;
  return Number.isFinite(low) && Number.isFinite(high) ? [Math.min(low, middle), Math.max(high, middle)] : null;
}

async function compare(form) {
  const [a, b, task, metric] = ["a", "b", "task", "metric"].map((name) => form.elements[name].value);
  const folder = form.elements.task.selectedOptions[0].dataset.folder, file = form.elements.metric.selectedOptions[0].dataset.file;
  const problem = document.getElementById("problem"), result = document.getElementById("result");
  const say = (text) => { problem.textContent = text; problem.hidden = false; result.hidden = true; document.getElementById("verdict").textContent = ""; };
  let scores;
  try { scores = await sabench.take(`data/${folder}/${file}`); } catch (error) { return say(error.message); }
  if (!scores.lines[a] || !scores.lines[b]) return say(`${scores.lines[a] ? "B" : "A"} has no ${metric} on ${task}.`);
  const items = scores.items.map((item, at) => ({ item, group: scores.groups[at], a: scores.lines[a][at], b: scores.lines[b][at] }))
    .filter((one) => one.a !== null && one.b !== null).map((one) => ({ ...one, gap: one.b - one.a }));
  if (!items.length) return say("They have no item in common that both have a score for.");
  const heard = await sabench.take(`data/${folder}/listen`);
  for (const one of items) one.heard = heard[one.item] || {};
  const groups = new Set(items.map((one) => one.group));
  const mean = (name) => items.reduce((sum, one) => sum + one[name], 0) / items.length;
  let bounds = null;
  if (groups.size > 1) {
    try { bounds = interval(items.map((one) => one.gap), items.map((one) => one.group), await sabench.take(`data/swaps-${groups.size}`)); } catch (error) { return say(error.message); }
  }
  show(form, items, { a: mean("a"), b: mean("b"), gap: mean("gap"), groups: groups.size, bounds });
  problem.hidden = true;
  result.hidden = false;
}

function show(form, items, found) {
  const option = form.elements.metric.selectedOptions[0], unit = option.dataset.unit === "dB" ? " dB" : "";
  const sign = option.dataset.higher ? 1 : -1, set = (id, text) => { document.getElementById(id).textContent = text; };
  const [nameA, nameB] = ["a", "b"].map((name) => form.elements[name].selectedOptions[0].textContent);
  const sure = found.bounds && (found.bounds[0] > 0 || found.bounds[1] < 0);
  const better = sign * found.gap > 0 ? nameB : nameA;
  set("verdict", found.gap === 0 && !sure ? "No difference." : sure ? `${better} is better: the interval leaves out zero.` : found.bounds ? "They cannot be told apart: the interval holds zero." : "So few recordings tell nothing apart.");
  set("mean-a", sabench.number(found.a) + unit);
  set("mean-b", sabench.number(found.b) + unit);
  set("difference", (found.gap > 0 ? "+" : "") + sabench.number(found.gap) + unit);
  set("interval", found.bounds ? `${sabench.number(found.bounds[0])} to ${sabench.number(found.bounds[1])}` : "unknown: too few recordings");
  const wins = items.filter((one) => sign * one.gap > 0).length, losses = items.filter((one) => sign * one.gap < 0).length;
  set("wins", `${wins} / ${items.length - wins - losses} / ${losses}`);
  set("counts", `${items.length}, ${found.groups}`);
  const order = [...items].sort((x, y) => sign * (x.gap - y.gap)), worst = order.filter((one) => sign * one.gap < 0);
  const page = form.elements.task.selectedOptions[0].dataset.page;
  document.getElementById("worst").replaceChildren(...(worst.length ? worst.slice(0, 10).map((one) => {
    const row = document.createElement("tr"), head = document.createElement("th"), link = document.createElement("a");
    head.scope = "row";
    link.href = `items/${encodeURIComponent(page)}#${encodeURIComponent(one.item)}`;
    link.textContent = one.item;
    head.append(link);
    row.append(head, ...[[one.a, one.heard[form.elements.a.value]], [one.b, one.heard[form.elements.b.value]], [one.gap]].map(([value, there]) => {
      const cell = document.createElement("td"), text = there ? document.createElement("a") : cell;
      cell.className = "number";
      if (there) {
        text.href = `items/${encodeURIComponent(page)}#${encodeURIComponent(there)}`;
        cell.append(text);
      }
      text.textContent = sabench.number(value);
      return cell;
    }));
    return row;
  }) : [nothing()]));
  document.getElementById("dots").replaceChildren(dots(order));
}

function nothing() {
  const row = document.createElement("tr"), cell = document.createElement("td");
  cell.colSpan = 4;
  cell.textContent = "B is worse on no item.";
  row.append(cell);
  return row;
}

/* One dot an item, worst for B on the left. */
function dots(items) {
  const make = (name, values) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [attribute, value] of Object.entries(values)) element.setAttribute(attribute, value);
    return element;
  };
  const gaps = items.map((one) => one.gap), low = Math.min(0, ...gaps), high = Math.max(0, ...gaps), span = high - low || 1;
  const width = matchMedia("(max-width: 46rem)").matches ? 350 : 720;
  const svg = make("svg", { viewBox: `0 0 ${width} 220`, class: "plot", role: "img", "aria-label": "B − A of every item, worst for B first" });
  const up = (value) => 14 + 190 * (high - value) / span, across = (place) => 60 + (width - 70) * (place + 0.5) / items.length;
  for (const value of new Set([low, 0, high])) {
    svg.append(make("path", { class: value === 0 ? "zero" : "grid", d: `M56 ${up(value)}H${width - 6}` }));
    const text = make("text", { x: 50, y: up(value) + 4, "text-anchor": "end" });
    text.textContent = sabench.number(value, 1);
    svg.append(text);
  }
  items.forEach((one, place) => {
    svg.append(make("path", { class: "whisker", d: `M${across(place)} ${up(0)}V${up(one.gap)}` }));
    const dot = make("circle", { class: "dot", cx: across(place), cy: up(one.gap), r: 4 }), title = make("title", {});
    title.textContent = `${one.item}: ${sabench.number(one.gap)}`;
    dot.append(title);
    svg.append(dot);
  });
  return svg;
}

function start(form) {
  const asked = new URLSearchParams(location.search);
  for (const name of ["a", "b", "task"]) {
    const field = form.elements[name], wanted = asked.get(name);
    if ([...field.options].some((option) => option.value === wanted)) field.value = wanted;
  }
  const offer = (wanted) => {
    const task = form.elements.task.selectedOptions[0].dataset, metric = form.elements.metric;
    for (const option of metric.options) option.hidden = option.disabled = !task.metrics.split(" ").includes(option.value);
    metric.value = task.metrics.split(" ").includes(wanted) ? wanted : task.main;
  };
  offer(asked.get("metric"));
  form.addEventListener("change", (event) => {
    if (event.target.name === "task") offer(form.elements.metric.value);
    sabench.address(new URLSearchParams(new FormData(form)));
    compare(form);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  compare(form);
}

const form = document.getElementById("compare");
start(form);
