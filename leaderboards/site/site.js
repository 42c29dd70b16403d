"use strict";
/* Tables: sorting, filtering, columns, the address. Texts are set as text, never as HTML. The pages are complete without it. */
const sabench = { root: document.currentScript.dataset.root, kept: new Map(), waiting: new Map() };

/* Data files call this; a page from a disk may load scripts but not read files. */
sabench.give = (place, value) => {
  sabench.kept.set(place, value);
  for (const done of sabench.waiting.get(place) || []) done(value);
  sabench.waiting.delete(place);
};

sabench.take = (place) => new Promise((done, fail) => {
  if (sabench.kept.has(place)) return done(sabench.kept.get(place));
  const others = sabench.waiting.get(place);
  if (others) return others.push(done);
  sabench.waiting.set(place, [done]);
  const script = document.createElement("script");
  script.src = sabench.root + place.split("/").map(encodeURIComponent).join("/") + ".js";
  script.onerror = () => { sabench.waiting.delete(place); fail(new Error("no data at " + place)); };
  document.head.append(script);
});

sabench.number = (value, digits = 2) => {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
};

/* The value that a cell is sorted by; null where it has none. */
function key(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
  if (text === "" || text === "—") return null;
  const value = Number(text.replace("−", "-"));
  return Number.isNaN(value) ? text.toLowerCase() : value;
}

const heads = (table) => [...table.tHead.rows[0].cells];
const rowsOf = (body) => [...body.rows].filter((row) => !row.classList.contains("section"));
const tools = (table, selector) => [...document.querySelectorAll(`[data-of="${CSS.escape(table.id)}"]${selector}`)];

/* Rows stay in their sections; a row without a value goes last either way. */
function sort(head, down) {
  const table = head.closest("table"), column = head.cellIndex;
  for (const other of heads(table)) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  for (const body of table.tBodies) {
    const keyed = rowsOf(body).map((row, place) => ({ row, place, key: key(row, column) }));
    keyed.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      const order = typeof a.key === typeof b.key ? (a.key < b.key ? -1 : a.key > b.key ? 1 : 0) : typeof a.key === "number" ? -1 : 1;
      return (down ? -order : order) || a.place - b.place;
    });
    body.append(...keyed.map((one) => one.row));
  }
}

/* The first click puts what is best first. */
function turn(head) {
  const now = head.getAttribute("aria-sort"), low = "low" in head.querySelector("[data-sort]").dataset;
  sort(head, (now ?? (head.classList.contains("number") && !low ? "ascending" : "descending")) === "ascending");
}

/* Filtering by name and kind; a section without rows is hidden with its heading. */
function filter(table) {
  const words = (tools(table, "[type=search]")[0]?.value || "").toLowerCase().split(/\s+/).filter(Boolean);
  const hidden = tools(table, "[data-kind]").filter((box) => !box.checked).map((box) => box.dataset.kind);
  let shown = 0, all = 0;
  for (const body of table.tBodies) {
    let here = 0;
    for (const row of rowsOf(body)) {
      const name = (row.dataset.name || row.textContent).toLowerCase();
      row.hidden = hidden.includes(row.dataset.kind) || !words.every((word) => name.includes(word));
      here += !row.hidden;
      all += 1;
    }
    body.hidden = !here;
    shown += here;
  }
  const [count] = tools(table, ":is(output)");
  if (count) count.value = shown === all ? "" : `${shown} of ${all} shown`;
}

/* Columns that a reader does not want; the names stay. */
function choose(table) {
  const hidden = new Set(tools(table, "[data-column]").filter((box) => !box.checked).map((box) => box.dataset.column));
  const out = heads(table).map((head) => hidden.has(head.dataset.column)), left = out.filter((one) => !one).length;
  for (const row of [table.tHead.rows[0], ...[...table.tBodies].flatMap(rowsOf)]) out.forEach((gone, at) => { row.cells[at].hidden = gone; });
  for (const row of table.querySelectorAll(".section")) row.cells[0].colSpan = left;
}

function offer(table) {
  const [place] = tools(table, ".columns");
  if (!place) return;
  for (const head of heads(table).filter((one) => one.dataset.column && !one.classList.contains("names"))) {
    const label = document.createElement("label"), box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: true });
    Object.assign(box.dataset, { of: table.id, column: head.dataset.column });
    label.append(box, " ", head.dataset.column);
    place.querySelector("div").append(label);
  }
  place.hidden = false;
}

/* The address tells what is sorted, found and shown, so that it can be passed on. */
const parts = ["metric", "sort", "find", "without", "hide"];
function state(table) {
  const sorted = heads(table).find((head) => head.hasAttribute("aria-sort"));
  const off = (kind) => tools(table, `[data-${kind}]`).filter((box) => !box.checked).map((box) => box.dataset[kind]).join(",");
  return {
    metric: tools(table, "[data-scores]")[0]?.value || "",
    sort: sorted ? (sorted.getAttribute("aria-sort") === "descending" ? "-" : "") + sorted.dataset.column : "",
    find: tools(table, "[type=search]")[0]?.value || "", without: off("kind"), hide: off("column"),
  };
}

sabench.address = (query) => {
  const text = query.toString();
  try { history.replaceState(null, "", (text ? "?" + text : location.pathname) + location.hash); } catch (error) { /* some browsers forbid that to pages from a disk: then it cannot be passed on */ }
};

const begun = new Map();
function remember(table) {
  const query = new URLSearchParams(location.search), now = state(table);
  for (const part of parts) {
    if (now[part] === begun.get(table)[part]) query.delete(`${table.id}.${part}`);
    else query.set(`${table.id}.${part}`, now[part]);
  }
  sabench.address(query);
}

async function recall(table) {
  const query = new URLSearchParams(location.search), asked = (part) => query.get(`${table.id}.${part}`);
  begun.set(table, state(table));
  if (!parts.some((part) => asked(part) !== null)) return;
  const [select] = tools(table, "[data-scores]");
  if ([...(select?.options || [])].some((one) => one.value === asked("metric"))) {
    select.value = asked("metric");
    await rescore(select);
  }
  const [field] = tools(table, "[type=search]"), without = (asked("without") || "").split(","), hide = (asked("hide") || "").split(",");
  if (field) field.value = asked("find") || "";
  for (const box of tools(table, "[data-kind]")) box.checked = !without.includes(box.dataset.kind);
  for (const box of tools(table, "[data-column]")) box.checked = !hide.includes(box.dataset.column);
  filter(table);
  choose(table);
  const wanted = asked("sort") || "", head = heads(table).find((one) => one.dataset.column === wanted.replace(/^-/, "") && one.querySelector("[data-sort]"));
  if (wanted && head) sort(head, wanted.startsWith("-"));
}

document.addEventListener("click", (event) => {
  const head = event.target.closest("thead th");
  if (!head?.querySelector("[data-sort]")) return;
  turn(head);
  if (head.closest("table").id) remember(head.closest("table"));
});
document.addEventListener("input", async (event) => {
  const table = document.getElementById(event.target.dataset.of);
  if (!table) return;
  if ("scores" in event.target.dataset) await rescore(event.target);
  else (event.target.dataset.column === undefined ? filter : choose)(table);
  remember(table);
});

/* Another metric in a table of items: its columns are lines, whose ids their heads tell. */
async function rescore(select) {
  const table = document.getElementById(select.dataset.of), scores = await sabench.take(`data/${select.dataset.folder}/${select.value}`);
  const place = new Map(scores.items.map((item, at) => [item, at]));
  for (const head of table.tHead.rows[0].cells) {
    head.removeAttribute("aria-sort");
    if (head.dataset.line === undefined) continue;
    for (const row of table.tBodies[0].rows) {
      const value = scores.lines[head.dataset.line]?.[place.get(row.querySelector("th").id)] ?? null;
      const cell = row.cells[head.cellIndex];
      cell.dataset.value = value ?? "";
      (cell.querySelector("a") || cell).textContent = value === null ? "—" : sabench.number(value);
    }
  }
  document.getElementById("shown").textContent = select.selectedOptions[0].textContent;
}

setTimeout(() => document.documentElement.classList.add("whole"), 300); /* by when the style sheet shows every row: from here on sorting hides none */
for (const part of document.querySelectorAll(".needs-script")) part.hidden = false;
for (const table of document.querySelectorAll("table.sortable[id]")) {
  offer(table);
  recall(table);
}
