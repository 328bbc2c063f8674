// The assistant's voice, from a track (WebRTC) or from pieces of PCM (WebSocket), with its level.

import { Meter } from './microphone.js';

const PCM_RATE = 24000;
const AUDIBLE = 0.003; // root mean square, or the first sample of a sound: about -50 dBFS

export class Player {
  // Plays a track. The element does the playing; Web Audio only measures.
  static async ofTrack(track, element) {
    const player = new Player(new AudioContext());
    const stream = new MediaStream([track]);
    player.element = element;
    player.stream = stream;
    element.srcObject = stream;
    player.context.createMediaStreamSource(stream).connect(player.meter.node);
    await element.play();
    return player;
  }

  // Plays what is pushed.
  static async ofPcm() {
    const player = new Player(new AudioContext({ sampleRate: PCM_RATE }));
    await player.context.resume();
    await player.context.audioWorklet.addModule('worklets/player.js');
    player.node = new AudioWorkletNode(player.context, 'player', { numberOfInputs: 0, outputChannelCount: [1] });
    player.node.connect(player.meter.node).connect(player.context.destination);
    player.node.port.onmessage = ({ data }) => ('flushed' in data ? player.onflushed(data.flushed) : player.onover(data.over));
    return player;
  }

  constructor(context) {
    this.context = context;
    this.meter = new Meter(context);
    this.heardSeconds = 0; // of sound, not of silence
    this.onset = null; // who waits for the next sound
    this.lately = new AnalyserNode(context, { fftSize: 8192 }); // more than passes between two looks
    this.meter.node.connect(this.lately);
    this.onover = () => {}; // all that was pushed has been played; called with the last item
    this.measuredAt = performance.now();
    this.clock = setInterval(() => this.measure(), 50);
  }

  get level() {
    return this.meter.level();
  }

  // More of an item's sound: base64 of 16-bit little-endian PCM.
  push(item, base64) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const samples = Float32Array.from({ length: bytes.length >> 1 }, (_, i) => view.getInt16(2 * i, true) / 32768);
    if (samples.length > 0) this.node.port.postMessage({ item, samples }, [samples.buffer]);
  }

  // Fall silent at once, and go on at that very sample later. Only what was pushed can be held.
  pause(paused) {
    this.node?.port.postMessage({ paused });
  }

  // Fall silent at once, which ends a pause. Resolves to {item, ms}, what was cut off and how much of it was heard, or to null.
  async flush() {
    const cut = await new Promise((resolve) => {
      this.onflushed = resolve;
      this.node.port.postMessage({ flush: true });
    });
    return cut && { item: cut.item, ms: Math.floor((cut.played * 1000) / PCM_RATE) };
  }

  // Resolves to when the next sound began, by performance.now(), or to null if that is asked again before.
  nextSound() {
    this.onset?.resolve(null);
    return new Promise((resolve) => (this.onset = { resolve, since: performance.now() }));
  }

  // Between two looks the sound is remembered, so that its begin is known to the millisecond.
  lookForOnset(now) {
    const samples = new Float32Array(this.lately.fftSize);
    this.lately.getFloatTimeDomainData(samples);
    const perMs = this.context.sampleRate / 1000;
    const from = Math.max(0, samples.length - Math.round((now - this.onset.since) * perMs));
    const first = samples.findIndex((sample, index) => index >= from && Math.abs(sample) > AUDIBLE);
    if (first < 0) return;
    const outputMs = this.node ? 1000 * (this.context.outputLatency || this.context.baseLatency) : 0; // a track's is not known
    this.onset.resolve(now - (samples.length - first) / perMs + outputMs);
    this.onset = null;
  }

  measure() {
    const now = performance.now();
    if (this.onset) this.lookForOnset(now);
    if (this.meter.rms() > AUDIBLE) this.heardSeconds += (now - this.measuredAt) / 1000;
    this.measuredAt = now;
  }

  close() {
    clearInterval(this.clock);
    this.onset?.resolve(null);
    if (this.element && this.element.srcObject === this.stream) this.element.srcObject = null; // unless a newer one has the element
    this.context.close();
  }
}
