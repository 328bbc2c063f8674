// Plays PCM that arrives in pieces, each marked with the item it belongs to, and tells how much of which was played.
// In: {item, samples: Float32Array}, {paused: boolean} or {flush: true}. Out: {over: item} when nothing is left to play, and, in answer to a
// flush, {flushed: {item, played}}: what was cut off and how many samples of it were heard; null if nothing was.

const RISE = 1 / 120; // a sample: 5 ms in all

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.pieces = [];
    this.item = null;
    this.played = 0;
    this.paused = false;
    this.gain = 1; // less while the sound rises again after a pause
    this.fade = 0; // last sample, led back to silence after a flush and in a pause
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take(data) {
    if (data.flush) this.flush();
    else if ('paused' in data) this.pause(data.paused);
    else this.pieces.push({ ...data, at: 0 });
  }

  pause(paused) {
    if (this.paused && !paused) this.gain = 0;
    this.paused = paused;
  }

  flush() {
    const cut = this.pieces[0];
    const flushed = cut ? { item: cut.item, played: cut.item === this.item ? this.played : 0 } : null;
    this.pieces = [];
    this.paused = false;
    this.gain = 1;
    this.port.postMessage({ flushed });
  }

  process(inputs, [output]) {
    const channel = output[0];
    for (let i = 0; i < channel.length; i++) channel[i] = this.next();
    for (const other of output.slice(1)) other.set(channel);
    return true;
  }

  next() {
    const piece = this.pieces[0];
    if (piece === undefined || this.paused) return (this.fade *= 0.98);
    if (piece.item !== this.item) {
      this.item = piece.item;
      this.played = 0;
    }
    this.gain = Math.min(1, this.gain + RISE);
    const value = this.gain * piece.samples[piece.at++];
    this.fade = value;
    this.played++;
    if (piece.at === piece.samples.length) {
      this.pieces.shift();
      if (this.pieces.length === 0) this.port.postMessage({ over: this.item });
    }
    return value;
  }
}

registerProcessor('player', Player);
