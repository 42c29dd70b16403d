"use strict";
/* Listening in step: every sound of an item goes on where the last one was, and one key goes back and forth. */
const deepest = 12; /* dB below the mixture, to which sounds are turned down at most */
const deck = { item: null, now: null, before: null, sounds: new Map() };

const linksOf = (item) => [...item.querySelectorAll("[data-hear]")];
const audioOf = (link) => deck.sounds.get(link);

/* Volume that makes the sounds of an item as loud as its quietest one; files can only be turned down. */
function volume(link) {
  const loudness = linksOf(deck.item).map((one) => one.dataset.loudness).filter((one) => one !== undefined).map(Number);
  if (!deck.item.querySelector("[data-match]").checked || link.dataset.loudness === undefined || !loudness.length) return 1;
  const mixture = linksOf(deck.item)[0].dataset.loudness, least = mixture === undefined ? -Infinity : Number(mixture) - deepest;
  return Math.min(1, 10 ** ((Math.max(Math.min(...loudness), least) - Number(link.dataset.loudness)) / 20));
}

function load(link) {
  if (!deck.sounds.has(link)) {
    const audio = new Audio(link.href);
    audio.addEventListener("ended", () => { if (link === deck.now) stop(0); });
    audio.addEventListener("error", () => { if (link === deck.now) tell(`${link.dataset.name} cannot be played`); });
    deck.sounds.set(link, audio);
  }
  return audioOf(link);
}

const moment = () => (deck.now ? audioOf(deck.now).currentTime : 0);
const playing = () => Boolean(deck.now) && !audioOf(deck.now).paused;

function tell(text) { deck.item.querySelector("output").value = text; }

/* Only the last two sounds are kept going, the earlier one unheard. */
function enter(item) {
  if (deck.item === item) return;
  for (const audio of deck.sounds.values()) audio.pause();
  for (const link of deck.item ? linksOf(deck.item) : []) {
    link.removeAttribute("aria-current");
    link.classList.remove("before");
  }
  Object.assign(deck, { item, now: null, before: null, sounds: new Map() });
}

function choose_sound(link, at) {
  const time = at ?? moment();
  if (link !== deck.now) [deck.before, deck.now] = [deck.now, link];
  for (const [one, audio] of deck.sounds) if (one !== deck.now && one !== deck.before) audio.pause();
  for (const one of [deck.now, deck.before].filter(Boolean)) {
    const audio = load(one);
    if (Math.abs(audio.currentTime - time) > 0.03) audio.currentTime = time;
    audio.volume = volume(one);
    audio.muted = one !== deck.now;
  }
  show_state();
}

function play() {
  for (const one of [deck.now, deck.before].filter(Boolean)) audioOf(one).play().catch((error) => { if (one === deck.now && error.name !== "AbortError") tell(`${one.dataset.name} cannot be played`); });
  show_state();
  requestAnimationFrame(follow);
}

function stop(at) {
  for (const audio of deck.sounds.values()) {
    audio.pause();
    if (at !== undefined) audio.currentTime = at;
  }
  show_state();
}

function swap() {
  if (!deck.before) return;
  const going = playing();
  choose_sound(deck.before);
  if (going) play();
}

function follow() {
  if (!deck.now) return;
  const time = moment(), field = deck.item.querySelector("[data-moment]");
  field.value = time;
  deck.item.style.setProperty("--at", `${100 * time / Number(field.max)}%`);
  if (playing()) requestAnimationFrame(follow);
}

function show_state() {
  for (const link of linksOf(deck.item)) {
    const place = link === deck.now ? "true" : null;
    if (place) link.setAttribute("aria-current", place); else link.removeAttribute("aria-current");
    link.classList.toggle("before", link === deck.before);
  }
  const swapper = deck.item.querySelector("[data-swap]");
  deck.item.querySelector("[data-play]").textContent = playing() ? "Stop" : "Play";
  swapper.disabled = !deck.before;
  swapper.textContent = deck.before ? `${deck.before.dataset.name} (X)` : "Back (X)";
  tell(deck.now ? deck.now.dataset.name : "");
  follow();
}

/* The first answer, with the mixture to go back to. */
function begin(item) {
  const links = linksOf(item), [mixture] = links;
  enter(item);
  if (deck.now) return;
  choose_sound(mixture, 0);
  choose_sound(links.find((one) => one.closest(".sound").querySelector(".scored")) || mixture, 0);
}

function hear(link, at) {
  const item = link.closest(".listen");
  if (deck.item !== item) begin(item);
  if (link === deck.now && at === undefined && playing()) return stop();
  choose_sound(link, at);
  play();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-hear]"), item = event.target.closest(".listen");
  if (link) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const box = link.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
    const seconds = Number(item.querySelector("[data-moment]").max);
    hear(link, event.detail && event.target.closest("img") ? share * seconds : undefined);
  } else if (event.target.closest("[data-play]")) {
    begin(item);
    if (playing()) stop(); else play();
  } else if (event.target.closest("[data-swap]")) swap();
});

document.addEventListener("input", (event) => {
  const item = event.target.closest(".listen");
  if (!item) return;
  begin(item);
  if ("moment" in event.target.dataset) for (const one of [deck.now, deck.before].filter(Boolean)) audioOf(one).currentTime = Number(event.target.value);
  if ("match" in event.target.dataset) for (const one of [deck.now, deck.before].filter(Boolean)) audioOf(one).volume = volume(one);
  follow();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, summary, button")) return;
  const item = event.target.closest(".listen");
  if (!item) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], number = /^[1-9]$/.test(event.key) ? linksOf(item)[Number(event.key) - 1] : null;
  if (event.key.toLowerCase() === "x") {
    begin(item);
    swap();
  } else if (event.key === " ") {
    begin(item);
    if (playing()) stop(); else play();
  } else if (number) hear(number);
  else if (step && deck.now && !event.target.closest(".scroll, .wide")) choose_sound(deck.now, Math.max(0, moment() + step));
  else return;
  event.preventDefault();
});

/* A link to a sound opens its item and chooses it; sound begins with the reader. */
function arrive() {
  let id = "";
  try { id = decodeURIComponent(location.hash.slice(1)); } catch (error) { return; }
  const target = document.getElementById(id), item = target?.closest(".listen");
  if (!item) return;
  item.open = true;
  begin(item);
  const link = target.querySelector("[data-hear]");
  if (target.matches(".sound") && link && link !== deck.now) {
    stop(0);
    choose_sound(linksOf(item)[0], 0);
    choose_sound(link, 0);
  }
  link?.focus({ preventScroll: true });
  target.scrollIntoView({ block: "center" });
}
window.addEventListener("hashchange", arrive);
arrive();
