// The microphone as 16-bit PCM at 24 kHz, in chunks of 40 ms. The context runs at the microphone's own rate (not all
// browsers connect a microphone to a context of another rate), so this resamples with a windowed sinc.

const RATE = 24000;
const CHUNK = RATE / 25;
const REACH = 16; // zero crossings of the sinc on each side

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.step = sampleRate / RATE; // input samples for one output sample
    this.cutoff = Math.min(1, RATE / sampleRate) * 0.94; // of the input's Nyquist frequency
    this.half = Math.ceil(REACH / this.cutoff);
    this.kernels = new Map(); // by the place between two samples: a few for the usual rates
    this.input = new Float32Array(this.half); // begins with silence, so that the first output has its past
    this.at = this.half; // where in the input the next output sample lies
    this.chunk = new Int16Array(CHUNK);
    this.filled = 0;
  }

  process([input]) {
    if (input.length === 0) return true; // the track has ended
    const joined = new Float32Array(this.input.length + input[0].length);
    joined.set(this.input);
    joined.set(input[0], this.input.length);
    this.input = joined;
    while (this.at + this.half < this.input.length) {
      this.put(this.sample(this.at));
      this.at += this.step;
    }
    const used = Math.floor(this.at) - this.half;
    this.input = this.input.slice(used);
    this.at -= used;
    return true;
  }

  sample(at) {
    const first = Math.floor(at) - this.half + 1;
    const kernel = this.kernel(at - Math.floor(at));
    let sum = 0;
    for (let i = 0; i < kernel.length; i++) sum += this.input[first + i] * kernel[i];
    return sum;
  }

  kernel(fraction) {
    const key = Math.round(fraction * 1e4);
    if (!this.kernels.has(key)) {
      this.kernels.set(key, Float32Array.from({ length: 2 * this.half }, (_, i) => {
        const x = fraction + this.half - 1 - i;
        const angle = Math.PI * x * this.cutoff;
        const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
        return sinc * this.cutoff * (0.5 + 0.5 * Math.cos((Math.PI * x) / this.half));
      }));
    }
    return this.kernels.get(key);
  }

  put(value) {
    this.chunk[this.filled++] = Math.round(32767 * Math.max(-1, Math.min(1, value)));
    if (this.filled === CHUNK) {
      this.port.postMessage(this.chunk.buffer, [this.chunk.buffer]);
      this.chunk = new Int16Array(CHUNK);
      this.filled = 0;
    }
  }
}

registerProcessor('capture', Capture);
