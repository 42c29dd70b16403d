"use strict";

/* A sound with its waveform: one button, one slider, and a note when it was heard to the end. */

const $ = (id) => document.getElementById(id);
const HEARD_SHARE = 0.95; // of a sound that must have been played; browsers report the end of short files loosely

const clock = (seconds) => `${seconds.toFixed(1)} s`;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Player {
  static all = [];

  constructor(id, onHeard) {
    const find = (selector) => $(id).querySelector(selector);
    this.figure = $(id);
    [this.canvas, this.range, this.button, this.time, this.mark] =
      ["canvas", "input", ".play", ".time", ".heard"].map(find);
    this.title = find("figcaption").textContent.toLowerCase();
    this.onHeard = onHeard;
    this.audio = null;
    this.button.addEventListener("click", () => this.toggle());
    this.range.addEventListener("input", () => this.seek(Number(this.range.value)));
    this.canvas.addEventListener("click", (event) => {
      this.seek((event.offsetX / this.canvas.clientWidth) * this.seconds);
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    Player.all.push(this);
  }

  load(clip, spans, highest) {
    this.unload();
    Object.assign(this, { seconds: clip.seconds, peaks: clip.peaks, spans, highest, failed: false });
    this.range.max = clip.seconds;
    this.setHeard(false);
    const audio = new Audio(clip.file);
    audio.preload = "auto";
    for (const name of ["play", "pause", "ended", "timeupdate", "seeked"]) {
      audio.addEventListener(name, () => audio === this.audio && this.update());
    }
    audio.addEventListener("error", () => audio === this.audio && this.fail());
    this.audio = audio;
    this.figure.classList.remove("failed");
    this.update();
  }

  unload() {
    if (this.audio) {
      const old = this.audio;
      this.audio = null;
      old.pause();
      old.removeAttribute("src");
    }
  }

  toggle() {
    if (!this.audio.paused) return this.audio.pause();
    Player.all.filter((other) => other !== this && other.audio).forEach((other) => other.audio.pause());
    this.audio.play().catch(() => {}); // an unreadable file raises the error event, a pause in between is no failure
  }

  seek(seconds) {
    if (!this.audio) return;
    this.audio.currentTime = Math.min(Math.max(seconds, 0), this.seconds);
    this.update();
  }

  fail() {
    this.failed = true;
    this.time.textContent = "This sound cannot be played.";
    this.onHeard();
  }

  setHeard(heard) {
    this.heard = heard;
    this.mark.hidden = !heard;
  }

  coverage() {
    const played = this.audio.played;
    let sum = 0;
    for (let index = 0; index < played.length; index += 1) sum += played.end(index) - played.start(index);
    return sum / (this.audio.duration || this.seconds);
  }

  update() {
    const now = this.audio.currentTime;
    const playing = !this.audio.paused && !this.audio.ended;
    this.button.textContent = `${playing ? "Pause" : "Play"} ${this.title}`;
    this.range.value = now;
    this.range.setAttribute("aria-valuetext", `${now.toFixed(1)} of ${this.seconds.toFixed(1)} seconds`);
    if (!this.failed) this.time.textContent = `${clock(now)} / ${clock(this.seconds)}`;
    if (!this.heard && this.coverage() >= HEARD_SHARE) {
      this.setHeard(true);
      this.onHeard();
    }
    this.draw();
    if (playing && !this.frame) {
      this.frame = requestAnimationFrame(() => {
        this.frame = null;
        if (this.audio) this.update();
      });
    }
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.audio || !width) return;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    this.spans.forEach((span) => this.drawSpan(pen, span, width, height));
    const step = width / this.peaks.length;
    const now = (this.audio.currentTime / this.seconds) * width;
    this.peaks.forEach((peak, index) => {
      const half = Math.max(0.5, (peak / this.highest) * (height / 2 - 6));
      pen.fillStyle = colour((index + 0.5) * step < now ? "--accent" : "--wave");
      pen.fillRect(index * step, height / 2 - half, Math.max(step * 0.7, 0.5), 2 * half);
    });
    pen.fillStyle = colour("--ink");
    pen.fillRect(Math.min(now, width - 1), 0, 1, height);
  }

  drawSpan(pen, [sign, start, end], width, height) {
    const left = (start / this.seconds) * width;
    const right = Math.min(end / this.seconds, 1) * width;
    const tint = colour(sign === "+" ? "--present" : "--absent");
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, right - left, height);
    pen.clip();
    pen.fillStyle = pen.strokeStyle = tint;
    pen.globalAlpha = 0.16;
    pen.fillRect(left, 0, right - left, height);
    pen.globalAlpha = 1;
    pen.fillRect(left, 0, right - left, 4);
    pen.fillRect(left, height - 4, right - left, 4);
    if (sign === "-") {
      pen.globalAlpha = 0.55;
      for (let x = left - height; x < right; x += 9) {
        pen.beginPath();
        pen.moveTo(x, height);
        pen.lineTo(x + height, 0);
        pen.stroke();
      }
    }
    pen.restore();
  }
}
