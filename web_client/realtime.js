// A line to the server that carries the events of the Realtime protocol both ways, and sound: a WebRTC call, or, where
// none can be set up in time, a WebSocket.

import { Player } from './player.js';

const CALL_TIMEOUT_MS = 8000;
const SOCKET_TIMEOUT_MS = 8000;
const VIDEO_BITS_PER_SECOND = 600_000;
const MOST_BUFFERED_BYTES = 1 << 20; // about half a minute of sound that a slow network has not taken

export class LineError extends Error {}

const UNREACHABLE = 'The server cannot be reached. Is it running, and are you online?';
const LOST = 'The connection to the server was lost. Press the button to start again.';

// Resolves to an open line whose first event, session.created, has been given to onEvent. `only`: 'webrtc' or 'websocket'.
// Throws LineError in plain words.
export async function openLine({ microphone, element, onEvent, onLost, only }) {
  if (only !== 'websocket' && window.RTCPeerConnection) {
    const call = new Call(microphone, element, onEvent, onLost);
    try {
      await withDeadline(call.open(), CALL_TIMEOUT_MS, 'No call could be set up in time.');
      return call;
    } catch (error) {
      call.close();
      if (error.final || only === 'webrtc') throw new LineError(error.message);
      console.info('no WebRTC call, using a WebSocket instead:', error.message);
    }
  }
  const socket = new Socket(microphone, onEvent, onLost);
  try {
    await withDeadline(socket.open(), SOCKET_TIMEOUT_MS, UNREACHABLE);
    return socket;
  } catch (error) {
    socket.close();
    throw new LineError(error.message);
  }
}

async function withDeadline(promise, ms, words) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(words)), ms)));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// What both kinds of line share: events in and out, and being lost once.
class Line {
  constructor(microphone, onEvent, onLost) {
    this.microphone = microphone;
    this.onEvent = onEvent;
    this.onLost = onLost;
    this.isOpen = false;
    this.closed = false;
    this.over = () => {}; // all sound that came has been played; where the server does not tell
    this.created = new Promise((resolve) => (this.greeted = resolve));
  }

  receive(message) {
    if (this.closed) return;
    const event = JSON.parse(message);
    this.onEvent(event);
    if (event.type === 'session.created') {
      this.isOpen = true;
      this.greeted();
    }
  }

  forgetPictures() {
    this.send({ type: 'input_image_buffer.clear' });
  }

  lose(words = LOST) {
    if (this.isOpen && !this.closed) this.onLost(words);
  }
}

class Call extends Line {
  kind = 'WebRTC';

  constructor(microphone, element, onEvent, onLost) {
    super(microphone, onEvent, onLost);
    this.element = element;
  }

  async open() {
    const connection = (this.connection = new RTCPeerConnection());
    this.sender = connection.addTrack(this.microphone.track, this.microphone.stream);
    this.eye = connection.addTransceiver('video', { direction: 'sendonly' }); // there is no second offer, so it comes with the first
    connection.ontrack = async ({ track }) => (this.player = await Player.ofTrack(track, this.element));
    connection.onconnectionstatechange = () => this.watch(connection.connectionState);
    this.channel = connection.createDataChannel('oai-events');
    this.channel.onmessage = ({ data }) => this.receive(data);
    this.channel.onclose = () => this.lose();

    await connection.setLocalDescription();
    const answer = await this.post(connection.localDescription.sdp);
    if (this.closed) return;
    await connection.setRemoteDescription({ type: 'answer', sdp: answer });
    await this.created;
  }

  // There is no trickle: the offer goes out at once, and the server learns where we are when we knock.
  async post(sdp) {
    let response;
    try {
      response = await fetch('v1/realtime/calls', { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: sdp });
    } catch {
      throw Object.assign(new Error(UNREACHABLE), { final: true });
    }
    const body = await response.text();
    if (!response.ok) {
      const final = [401, 403, 429, 503].includes(response.status); // a WebSocket would fare no better
      throw Object.assign(new Error(messageOf(body) ?? `The server answered with status ${response.status}.`), { final });
    }
    this.location = response.headers.get('Location');
    if (this.closed) this.hangUp(); // we had given up meanwhile
    return body;
  }

  watch(state) {
    clearTimeout(this.wavering);
    if (state === 'failed' || state === 'closed') this.lose();
    if (state === 'disconnected') this.wavering = setTimeout(() => this.lose(), 5000);
  }

  send(event) {
    if (this.channel.readyState === 'open') this.channel.send(JSON.stringify(event));
  }

  async useMicrophone(microphone) {
    await this.sender.replaceTrack(microphone.track);
    this.microphone = microphone;
  }

  // `perSecond`: as many pictures as the server looks at. A camera of null switches it off.
  async useCamera(camera, perSecond) {
    if (camera) {
      const parameters = this.eye.sender.getParameters();
      for (const encoding of parameters.encodings) Object.assign(encoding, { maxFramerate: perSecond, maxBitrate: VIDEO_BITS_PER_SECOND });
      await this.eye.sender.setParameters(parameters);
    }
    await this.eye.sender.replaceTrack(camera?.track ?? null);
    if (!camera) this.forgetPictures();
  }

  // The server stops the sound itself when the user speaks, and knows what was heard.
  async interrupt() {}

  hangUp() {
    if (this.location) fetch(`${this.location}/hangup`, { method: 'POST', keepalive: true }).catch(() => {});
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.wavering);
    this.hangUp();
    this.connection?.close();
    this.player?.close();
  }
}

class Socket extends Line {
  kind = 'WebSocket';

  async open() {
    this.player = await Player.ofPcm();
    this.player.onover = () => this.over();
    const url = new URL('v1/realtime', document.baseURI);
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = (this.socket = new WebSocket(url));
    const failed = new Promise((_, reject) => {
      socket.onclose = ({ reason }) => {
        reject(new Error(reason || UNREACHABLE));
        this.lose(reason ? `The server ended the conversation: ${reason}` : LOST);
      };
    });
    failed.catch(() => {}); // also comes long after we are open
    socket.onmessage = ({ data }) => this.receive(data);
    await Promise.race([this.created, failed]);
    await this.useMicrophone(this.microphone);
  }

  receive(message) {
    const event = JSON.parse(message);
    if (event.type === 'response.output_audio.delta') this.player.push(event.item_id, event.delta);
    if (event.type === 'output_audio_buffer.paused') this.player.pause(true);
    if (event.type === 'output_audio_buffer.resumed') this.player.pause(false);
    super.receive(message);
  }

  send(event) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(event));
  }

  async useMicrophone(microphone) {
    this.microphone = microphone;
    await microphone.capture((chunk) => {
      if (this.socket.bufferedAmount > MOST_BUFFERED_BYTES) return; // better a hole than minutes of delay
      this.send({ type: 'input_audio_buffer.append', audio: btoa(String.fromCharCode(...new Uint8Array(chunk))) });
    });
  }

  async useCamera(camera, perSecond) {
    if (!camera) return this.forgetPictures();
    camera.sendFrames((picture) => {
      if (this.socket.bufferedAmount > MOST_BUFFERED_BYTES) return;
      this.send({ type: 'input_image_buffer.append', image_url: picture });
    }, perSecond);
  }

  // The server has heard the user and sends no more; what waits here must not be heard, and the server told what was.
  async interrupt() {
    const cut = await this.player.flush();
    if (cut) this.send({ type: 'conversation.item.truncate', item_id: cut.item, content_index: 0, audio_end_ms: cut.ms });
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.socket?.close(1000);
    this.player?.close();
  }
}

function messageOf(body) {
  try {
    return JSON.parse(body).error?.message ?? null;
  } catch {
    return null;
  }
}
