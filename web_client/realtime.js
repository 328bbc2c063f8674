// A line to the server that carries the events of the Realtime protocol both ways, and sound: a WebRTC call, or, where
// none can be set up in time, a WebSocket.

import { Player } from './player.js';

const CALL_TIMEOUT_MS = 8000;
const SOCKET_TIMEOUT_MS = 8000;
const WAVERING_MS = 3000; // a call that stays disconnected for so long is lost
const PROBE_MS = 4000;
const FAREWELLS = ['session_idle', 'session_expired']; // errors behind which the server ends the conversation
const FINAL_CODES = [1000, 1008, 1009]; // a WebSocket that is closed with these is not worth another try
const VIDEO_BITS_PER_SECOND = 600_000;
const MOST_BUFFERED_BYTES = 1 << 20; // about half a minute of sound that a slow network has not taken

export class LineError extends Error {}

const UNREACHABLE = 'The server cannot be reached. Is it running, and are you online?';
const LOST = 'The connection to the server was lost. Press the button to start again.';

// Resolves to an open line whose first event, session.created or session.resumed, has been given to onEvent. `only`:
// 'webrtc' or 'websocket'. `lost`: the line that this one is to replace, in the same conversation. onLost gets the words
// to say, and whether the conversation may be resumed. Throws LineError in plain words.
export async function openLine({ microphone, element, onEvent, onLost, only, lost }) {
  if (only !== 'websocket' && window.RTCPeerConnection) {
    const call = new Call(microphone, element, onEvent, onLost, lost);
    try {
      await withDeadline(call.open(), CALL_TIMEOUT_MS, 'No call could be set up in time.');
      return call;
    } catch (error) {
      call.close();
      if (error.final || only === 'webrtc') throw new LineError(error.message);
      console.info('no WebRTC call, using a WebSocket instead:', error.message);
    }
  }
  const socket = new Socket(microphone, onEvent, onLost, lost);
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
  constructor(microphone, onEvent, onLost, lost) {
    this.microphone = microphone;
    this.onEvent = onEvent;
    this.onLost = onLost;
    this.lost = lost;
    this.heardAt = 0;
    this.isOpen = false;
    this.closed = false;
    this.over = () => {}; // all sound that came has been played; where the server does not tell
    this.created = new Promise((resolve) => (this.greeted = resolve));
  }

  receive(message) {
    if (this.closed) return;
    const event = JSON.parse(message);
    this.heardAt = performance.now();
    if (event.session?.resume) this.keepTicket(event.session.resume);
    if (FAREWELLS.includes(event.error?.code)) this.farewell = event.error.message;
    this.onEvent(event);
    if (event.type === 'session.created' || event.type === 'session.resumed') {
      this.isOpen = true;
      this.greeted();
    }
  }

  // Each is good for one time; should this attempt fail yet, the next one begins where the last line was lost.
  keepTicket(ticket) {
    this.ticket = ticket;
    if (this.lost) this.lost.ticket = ticket;
  }

  // The network has changed: is anybody there? An empty update changes nothing, but is answered.
  probe() {
    if (!this.isOpen || this.closed) return;
    const askedAt = performance.now();
    this.send({ type: 'session.update', session: { type: 'realtime' } });
    setTimeout(() => this.heardAt < askedAt && this.lose(), PROBE_MS);
  }

  forgetPictures() {
    this.send({ type: 'input_image_buffer.clear' });
  }

  lose(words = this.farewell ?? LOST, resumable = !this.farewell && this.ticket !== undefined) {
    if (!this.isOpen || this.closed) return;
    this.closed = true;
    this.onLost(words, resumable);
  }
}

class Call extends Line {
  kind = 'WebRTC';

  constructor(microphone, element, onEvent, onLost, lost) {
    super(microphone, onEvent, onLost, lost);
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
    const headers = { 'Content-Type': 'application/sdp' };
    if (this.lost) headers['Resume-Session'] = this.lost.ticket.token;
    try {
      response = await fetch('v1/realtime/calls', { method: 'POST', headers, body: sdp });
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
    if (state === 'disconnected') this.wavering = setTimeout(() => this.lose(), WAVERING_MS);
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
    if (!this.closed) this.hangUp();
    this.release();
  }

  // Lets go of what a line that is lost still holds. The server, should it hear of it, must not take it for a farewell.
  release() {
    this.closed = true;
    clearTimeout(this.wavering);
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
    if (this.lost) url.searchParams.set('resume', this.lost.ticket.token);
    const socket = (this.socket = new WebSocket(url));
    const failed = new Promise((_, reject) => {
      socket.onclose = ({ code, reason }) => {
        reject(new Error(reason || UNREACHABLE));
        if (FINAL_CODES.includes(code)) this.lose(reason ? `The server ended the conversation: ${reason}` : LOST, false);
        else this.lose();
      };
    });
    failed.catch(() => {}); // also comes long after we are open
    socket.onmessage = ({ data }) => this.receive(data);
    await Promise.race([this.created, failed]);
    await this.useMicrophone(this.microphone);
  }

  receive(message) {
    const event = JSON.parse(message);
    if (event.type === 'session.resumed') this.inherit();
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

  // What came before the loss is still to be heard, and before what comes now.
  inherit() {
    const player = this.lost?.kind === this.kind ? this.lost.player : null;
    if (!player) return;
    this.player.close();
    this.player = player;
    this.lost.player = null;
    player.onover = () => this.over();
  }

  close() {
    if (!this.closed) this.socket?.close(1000);
    this.release();
  }

  release() {
    this.closed = true;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.close(4000); // not a farewell
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
