// A player for a piece of music: play and pause, its wave form to see and to seek in, and the time.

import { icon, make } from './dom.js';

const BAR_PX = 4; // from one bar of the wave form to the next
const PEAKS = 400;
const QUIET_VOLUME = 0.2;

let playing = null; // one at a time
let quiet = false;

// While somebody speaks, music makes room.
export function makeRoom(forSpeech) {
  quiet = forSpeech;
  if (playing) playing.audio.volume = quiet ? QUIET_VOLUME : 1;
}

export function stopMusic() {
  playing?.audio.pause();
}

export class Tune {
  constructor(name) {
    this.name = name;
    this.peaks = [];
    this.button = make('button', { type: 'button', className: 'play', disabled: true });
    this.canvas = make('canvas', { 'aria-hidden': 'true' });
    this.place = make('input', { type: 'range', min: 0, max: 1, step: 0.01, value: 0, disabled: true });
    this.place.setAttribute('aria-label', `Place in ${name}`);
    this.time = make('span', { className: 'time', 'aria-hidden': 'true' });
    this.audio = make('audio', { preload: 'auto' });
    this.element = make('div', { className: 'tune' }, this.button, make('div', { className: 'wave' }, this.canvas, this.place), this.time, this.audio);
    this.button.onclick = () => (this.audio.paused ? this.play() : this.audio.pause());
    this.place.oninput = () => {
      this.audio.currentTime = this.place.valueAsNumber;
      this.show();
    };
    for (const change of ['play', 'pause', 'timeupdate', 'ended', 'durationchange']) this.audio.addEventListener(change, () => this.show());
    this.audio.addEventListener('play', () => this.follow());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.show());
    new ResizeObserver(() => this.show()).observe(this.canvas);
    this.show();
  }

  get duration() {
    return Number.isFinite(this.audio.duration) ? this.audio.duration : (this.announced ?? 0);
  }

  // It can be played now. `seconds`: its length, as far as known.
  async load(url, seconds) {
    this.announced = seconds;
    this.audio.src = url;
    this.button.disabled = this.place.disabled = false;
    this.show();
    try {
      const data = await (await fetch(url)).arrayBuffer();
      const sound = await new OfflineAudioContext(1, 1, 44100).decodeAudioData(data);
      this.announced = sound.duration;
      this.peaks = peaksOf(sound.getChannelData(0));
      this.show();
    } catch {
      // Without a wave form it plays all the same, or the player says that it cannot.
    }
  }

  async play() {
    if (playing !== this) stopMusic();
    playing = this;
    makeRoom(quiet);
    try {
      await this.audio.play();
    } catch (error) {
      if (error.name !== 'AbortError') console.info('the music does not play:', error.message);
    }
  }

  follow() {
    if (this.audio.paused) return;
    this.show();
    if (!matchMedia('(prefers-reduced-motion: reduce)').matches) requestAnimationFrame(() => this.follow());
  }

  show() {
    const { paused, currentTime } = this.audio;
    const { duration } = this;
    if (this.shownPaused !== paused) {
      this.shownPaused = paused;
      this.button.replaceChildren(icon(paused ? 'play' : 'pause'));
      this.button.setAttribute('aria-label', `${paused ? 'Play' : 'Pause'} ${this.name}`);
    }
    this.place.max = duration || 1;
    this.place.value = currentTime;
    this.place.setAttribute('aria-valuetext', `${clock(currentTime)} of ${clock(duration)}`);
    this.time.textContent = duration === 0 ? '' : clock(paused && currentTime === 0 ? duration : currentTime);
    this.draw(duration === 0 ? 0 : currentTime / duration);
  }

  draw(share) {
    const { canvas } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (width === 0) return;
    canvas.width = width * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    const pen = canvas.getContext('2d');
    pen.scale(devicePixelRatio, devicePixelRatio);
    const style = getComputedStyle(canvas);
    const bars = Math.floor(width / BAR_PX);
    for (let bar = 0; bar < bars; bar++) {
      const heard = (bar + 0.5) / bars < share;
      pen.fillStyle = style.getPropertyValue(heard ? '--accent' : '--bars');
      const length = Math.max(3, loudest(this.peaks, bar / bars, (bar + 1) / bars) * (height - 4));
      pen.beginPath();
      pen.roundRect(bar * BAR_PX, (height - length) / 2, BAR_PX - 1.5, length, 1.5);
      pen.fill();
    }
  }
}

function clock(seconds) {
  const whole = Math.floor(seconds + 0.05);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

// The loudest sample of each of PEAKS equal pieces, 0..1, the loudest of all being 1.
function peaksOf(samples) {
  const size = Math.max(1, Math.ceil(samples.length / PEAKS));
  const peaks = Array.from({ length: Math.ceil(samples.length / size) }, (_, n) =>
    samples.subarray(n * size, (n + 1) * size).reduce((most, x) => Math.max(most, Math.abs(x)), 0));
  const most = Math.max(...peaks, 1e-6);
  return peaks.map((peak) => peak / most);
}

function loudest(peaks, from, to) {
  const piece = peaks.slice(Math.floor(from * peaks.length), Math.max(Math.floor(from * peaks.length) + 1, Math.floor(to * peaks.length)));
  return piece.length === 0 ? 0 : Math.max(...piece);
}
