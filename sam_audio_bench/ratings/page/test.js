/* The test: four screens, one trial after another, everything kept in this browser until it is saved as a file. */

const TEST = JSON.parse($("data").textContent);
const AXES = [...document.querySelectorAll("fieldset[data-axis]")].map((field) => field.dataset.axis);

/* ---- what is kept in the browser ---- */

const keep = {
  name: (block) => `sabench-listening-test:${TEST.test}:${block}`,
  works() {
    try {
      localStorage.setItem("sabench-listening-test", "1");
      localStorage.removeItem("sabench-listening-test");
      return true;
    } catch {
      return false;
    }
  },
  read(block) {
    try {
      const found = JSON.parse(localStorage.getItem(keep.name(block)));
      return found && found.version === 1 && Array.isArray(found.answers) ? found : null;
    } catch {
      return null;
    }
  },
  write(state) {
    try {
      localStorage.setItem(keep.name(state.block), JSON.stringify(state));
    } catch {
      $("storage").hidden = false;
    }
  },
  drop(block) {
    try {
      localStorage.removeItem(keep.name(block));
    } catch {
      /* nothing was kept */
    }
  },
};

/* ---- the test ---- */

let state = null;
let shownAt = null; // since when seconds count, in milliseconds of performance.now(); null while nobody looks
const sample = new Player("sample", () => {});
const mixture = new Player("mixture", () => saveDraft());
const result = new Player("result", () => saveDraft());

const block = () => TEST.blocks[state.block - 1];
const trialName = () => block()[state.answers.length];

function show(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  Player.all.forEach((player) => player.audio && player.audio.pause());
  $("progress").hidden = name !== "trial";
  const heading = $(name).querySelector("h1");
  document.title = `${heading.textContent} – ${document.querySelector("header .title").textContent}`;
  heading.focus();
  window.scrollTo(0, 0);
}

function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function emptyDraft() {
  return { axes: {}, seconds: 0, played: false };
}

function begin(rater, number) {
  state = { version: 1, rater, block: number, session: randomName(), started: new Date().toISOString(), answers: [],
            heard: {}, draft: emptyDraft() };
  keep.write(state);
  showInstructions();
}

function showInstructions() {
  const trial = TEST.trials[trialName()];
  const clip = TEST.mixtures[trial.mixture];
  sample.load(clip, [], Math.max(...clip.peaks, 1));
  show("instructions");
}

function showTrial() {
  const number = state.answers.length;
  if (number >= block().length) return showDone();
  const trial = TEST.trials[trialName()];
  const source = TEST.mixtures[trial.mixture];
  const highest = Math.max(...source.peaks, ...trial.peaks, 1);
  $("count").textContent = `Trial ${number + 1} of ${block().length}`;
  $("bar").max = block().length;
  $("bar").value = number;
  $("trial-title").textContent = `Trial ${number + 1}`;
  $("prompt").textContent = source.text || "The sound at the marked times";
  showSpans(source.spans);
  mixture.load(source, source.spans, highest);
  mixture.setHeard(Boolean(state.heard[trial.mixture]));
  result.load(trial, source.spans, highest);
  result.setHeard(state.draft.played);
  $("answers").reset();
  for (const [axis, score] of Object.entries(state.draft.axes)) choose(axis, score);
  $("problem").textContent = "";
  announce("");
  watch();
  show("trial");
}

function showSpans(spans) {
  const lines = spans.map(([sign, start, end]) => {
    const line = document.createElement("li");
    line.className = sign === "+" ? "present" : "absent";
    line.textContent = `${sign === "+" ? "The sound at" : "Not the sound at"} ${start.toFixed(1)} to ${end.toFixed(1)} s`;
    return line;
  });
  $("spans").replaceChildren(...lines);
}

function choose(axis, score) {
  const radio = document.querySelector(`input[name="${axis}"][value="${score}"]`);
  if (radio) radio.checked = true;
  return radio;
}

function chosen() {
  const form = new FormData($("answers"));
  return Object.fromEntries(AXES.filter((axis) => form.has(axis)).map((axis) => [axis, Number(form.get(axis))]));
}

function saveDraft() {
  if (!state || $("trial").hidden) return;
  if (mixture.heard) state.heard[TEST.trials[trialName()].mixture] = true;
  state.draft = { axes: chosen(), seconds: spent(), played: result.heard };
  watch();
  keep.write(state);
}

function spent() {
  return state.draft.seconds + (shownAt === null ? 0 : (performance.now() - shownAt) / 1000);
}

function watch() {
  shownAt = document.visibilityState === "hidden" ? null : performance.now();
}

function obstacle() {
  for (const player of [mixture, result]) {
    if (!player.heard && !player.failed) return [`Please listen to the whole ${player.title} first.`, player.button];
  }
  const missing = AXES.filter((axis) => !(axis in chosen()));
  if (!missing.length) return null;
  const titles = missing.map((axis) => $(`axis-${axis}`).querySelector("strong").textContent.replace(".", ""));
  return [`Please answer: ${titles.join(", ")}.`, $(`axis-${missing[0]}`).querySelector("input")];
}

function submit(event) {
  event.preventDefault();
  const problem = obstacle();
  if (problem) {
    $("problem").textContent = problem[0];
    problem[1].focus();
    return;
  }
  saveDraft();
  const { axes, seconds, played } = state.draft;
  state.answers.push({ trial: trialName(), axes, seconds: Math.round(seconds * 100) / 100, played });
  state.draft = emptyDraft();
  keep.write(state);
  showTrial();
}

function showDone() {
  Player.all.forEach((player) => player.unload());
  state.finished ||= new Date().toISOString();
  keep.write(state);
  $("text").value = answersText();
  show("done");
}

function answersText() {
  const { rater, session, block: number, started, finished, answers } = state;
  const document_ = { schema: "sabench-listening-test", version: 1, test: TEST.test, rater, session, block: number,
                      started, finished: finished || null, answers };
  return JSON.stringify(document_, null, 1);
}

function save() {
  saveDraft();
  const name = `listening-${TEST.test}-${state.block}-${state.rater.replace(/[^A-Za-z0-9_-]+/g, "_")}.json`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([answersText()], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  announce(`Saved as ${name}, where your browser puts downloads.`);
}

function announce(text) {
  for (const line of document.querySelectorAll(".saved")) line.textContent = text;
}

/* ---- the first screen ---- */

function describe() {
  const number = Number($("block").value);
  const known = Number.isInteger(number) && number >= 1 && number <= TEST.blocks.length;
  $("length").textContent = known
    ? `There are ${TEST.blocks[number - 1].length} trials; they take about ${TEST.minutes[number - 1]} minutes.`
    : "Short trials follow one another.";
  const found = known ? keep.read(number) : null;
  $("newcomer").hidden = Boolean(found);
  $("kept").hidden = !found;
  if (found) {
    const total = TEST.blocks[number - 1].length;
    $("kept-text").textContent = `This browser keeps ${found.answers.length} of ${total} answers of ${found.rater}.`;
  }
  return found;
}

function start(event) {
  event.preventDefault();
  if ($("newcomer").hidden) return;
  const rater = $("rater").value.trim();
  const number = Number($("block").value);
  const problems = [
    [!rater, "Please give a name or code.", "rater"],
    [!(Number.isInteger(number) && number >= 1 && number <= TEST.blocks.length),
     `Please give the number that you were told, from 1 to ${TEST.blocks.length}.`, "block"],
    [!$("consent").checked, "Please agree, or close this page.", "consent"],
  ].filter(([wrong]) => wrong);
  $("start-problem").textContent = problems.map(([, text]) => text).join(" ");
  if (problems.length) return $(problems[0][2]).focus();
  begin(rater, number);
}

function digits(event) {
  const field = event.target.closest("fieldset[data-axis]");
  if (!field || event.ctrlKey || event.altKey || event.metaKey || !/^[1-5]$/.test(event.key)) return;
  event.preventDefault();
  choose(field.dataset.axis, event.key).focus();
  saveDraft();
}

function home() {
  const number = Number(/^#(\d+)$/.exec(location.hash)?.[1]);
  state = null;
  $("block").max = TEST.blocks.length;
  $("block-help").textContent = `From 1 to ${TEST.blocks.length}, as you were told; nobody else has it.`;
  if (number) $("block").value = number;
  describe();
  show("welcome");
}

$("start").addEventListener("submit", start);
$("block").addEventListener("change", describe);
$("resume").addEventListener("click", () => {
  state = describe();
  if (state) showTrial();
});
$("discard").addEventListener("click", () => {
  if (!window.confirm("Delete the answers that this browser keeps?")) return;
  keep.drop(Number($("block").value));
  describe();
});
$("begin").addEventListener("click", () => {
  sample.unload();
  showTrial();
});
$("answers").addEventListener("submit", submit);
$("answers").addEventListener("change", saveDraft);
$("answers").addEventListener("keydown", digits);
document.querySelectorAll(".save").forEach((button) => button.addEventListener("click", save));
document.addEventListener("visibilitychange", () => {
  saveDraft();
  watch();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Player.all.forEach((player) => player.draw()));
window.addEventListener("hashchange", () => {
  saveDraft();
  home();
});
$("storage").hidden = keep.works();
home();
