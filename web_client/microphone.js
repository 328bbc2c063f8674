// The user's microphone: permission, level, and sound as a track (WebRTC) or as chunks of PCM (WebSocket).

export class MicrophoneError extends Error {}

const WORDS = {
  NotAllowedError: 'The microphone was not allowed. Allow it in the browser’s address bar and press the button again, or type instead.',
  NotFoundError: 'No microphone was found. Plug one in and press the button again, or type instead.',
  NotReadableError: 'The microphone is in use by another program. Close that program and press the button again, or type instead.',
};
const NOT_HERE = 'The browser gives its microphone only to pages on this computer or over https. You can type instead.';

export class Microphone {
  // Asks for the microphone; call while handling the user's click. Throws MicrophoneError in plain words.
  static async open() {
    if (!navigator.mediaDevices?.getUserMedia) throw new MicrophoneError(NOT_HERE);
    try {
      const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
      return new Microphone(await navigator.mediaDevices.getUserMedia({ audio }), true);
    } catch (error) {
      throw new MicrophoneError(WORDS[error.name] ?? `The microphone could not be opened: ${error.message}`);
    }
  }

  // A microphone that hears nothing, for somebody who types: the line to the server stays the same.
  static silent() {
    const context = new AudioContext();
    const microphone = new Microphone(context.createMediaStreamDestination().stream, false);
    microphone.silence = context;
    return microphone;
  }

  constructor(stream, real) {
    this.stream = stream;
    this.real = real;
    this.track = stream.getAudioTracks()[0];
    this.onlost = () => {};
    this.track.onended = () => this.onlost('The microphone was disconnected.');
    if (!real) return;
    this.context = new AudioContext();
    this.source = this.context.createMediaStreamSource(stream);
    this.meter = new Meter(this.context);
    this.source.connect(this.meter.node);
  }

  get level() {
    return this.meter?.level() ?? 0;
  }

  // Calls with an ArrayBuffer of 16-bit PCM at 24 kHz every 40 ms. A silent one never calls.
  async capture(onChunk) {
    if (!this.real) return;
    await this.context.audioWorklet.addModule('worklets/capture.js');
    if (this.capturing) this.source.disconnect(this.capturing); // for a line that was lost
    const node = (this.capturing = new AudioWorkletNode(this.context, 'capture', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' }));
    node.port.onmessage = ({ data }) => onChunk(data);
    this.source.connect(node);
  }

  close() {
    this.track.onended = null;
    this.track.stop();
    this.context?.close();
    this.silence?.close();
  }
}

// The loudness of what flows into `node`, from 0 (silence) to 1 (loud), on a scale of decibels.
export class Meter {
  constructor(context) {
    this.node = new AnalyserNode(context, { fftSize: 1024, smoothingTimeConstant: 0 });
    this.samples = new Float32Array(this.node.fftSize);
  }

  rms() {
    this.node.getFloatTimeDomainData(this.samples);
    return Math.sqrt(this.samples.reduce((sum, x) => sum + x * x, 0) / this.samples.length);
  }

  level() {
    return Math.max(0, Math.min(1, 1 + (20 * Math.log10(this.rms() + 1e-6)) / 55));
  }
}
