// The page: what the user does and what the server says, joined.

import { Brought, cardOf } from './attachments.js';
import { Camera } from './camera.js';
import { Microphone, MicrophoneError } from './microphone.js';
import { openLine, LineError } from './realtime.js';
import { Stopwatch } from './stopwatch.js';
import { makeRoom, stopMusic } from './tune.js';
import { kindOf, upload, watchForFiles } from './uploads.js';
import { View } from './view.js';
import { waterfall } from './waterfall.js';

const FIRST_PAUSE_MS = 500; // between two attempts to reconnect; it doubles
const LONGEST_PAUSE_MS = 8000;
const GIVEN_UP = 'The connection to the server was lost and could not be restored.';

const NOT_TAKEN = {
  null: 'That is neither a picture nor music.',
  image: 'The model that runs here does not take pictures.',
  music: 'The model that runs here does not listen to music.',
};

const view = new View();
const only = new URLSearchParams(location.search).get('transport') ?? undefined; // 'webrtc' or 'websocket', to try them out
const element = document.getElementById('voice-output');

let voices = [];
let voice = localStorage.getItem('voice') ?? '';
let conversation = null; // while connecting or connected

// One connected conversation: the line, the microphone, and what is going on.
class Conversation {
  state = 'connecting';
  responding = false;
  sounding = false;
  abilities = {};
  camera = null;
  sight = null; // the item with what the camera showed last, until we know what was said to it
  cards = new Map(); // by item: what is made beside the conversation
  brought = new Map(); // by item: what the user brought
  tune = null; // waits until nobody speaks
  unsaid = []; // typed while there is no connection
  stopwatch = new Stopwatch({
    nextSound: () => this.line?.player?.nextSound() ?? null,
    show: (id, milestones) => view.showTiming(id, waterfall(milestones)),
    report: (response, ms) => this.line?.send({ type: 'response.latency.report', response_id: response, first_sound_ms: ms }),
  });

  async start(microphone) {
    this.microphone = microphone;
    this.watchMicrophone();
    this.show('connecting');
    view.levels.start(() => ({ mine: this.microphone.level, theirs: this.line?.player?.level ?? 0 }));
    const line = await this.openLine();
    if (this.ended) return line.close();
    if (line.closed) throw new LineError(GIVEN_UP);
    view.addBreak();
    this.useLine(line);
    this.configure();
    this.show('listening');
  }

  openLine(lost) {
    return openLine({
      microphone: this.microphone,
      element,
      only,
      lost,
      onEvent: (event) => this.receive(event),
      onLost: (words, resumable) => (resumable ? this.reconnect() : end(this, words)),
    });
  }

  useLine(line) {
    this.line = line;
    line.lost = null;
    line.over = () => this.silent();
    view.showAbilities(this.abilities);
  }

  configure() {
    const turnDetection = { type: 'semantic_vad', create_response: true, interrupt_response: true };
    const audio = { input: { transcription: { model: 'default' }, turn_detection: turnDetection } };
    if (voices.includes(voice)) audio.output = { voice };
    this.line.send({ type: 'session.update', session: { type: 'realtime', audio, playback: { pauses: true } } });
  }

  // The connection is lost. Try to go on over another one for as long as the server keeps the conversation.
  async reconnect() {
    if (!this.line || this.state === 'reconnecting') return; // who waits for the new line finds it closed
    const lost = this.line;
    const deadline = performance.now() + lost.ticket.expires_after_ms;
    this.responding = this.sounding = false;
    this.show('reconnecting');
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      try {
        const line = await this.openLine(lost);
        if (this.ended) return line.close();
        if (!line.closed) return await this.goOn(line, lost);
      } catch (error) {
        if (!(error instanceof LineError)) console.error(error);
        console.info('no connection yet:', error.message);
      }
      const left = deadline - performance.now();
      if (left < 0) return this.giveUp();
      await orOnline(Math.min(pause, left));
      if (this.ended) return;
    }
  }

  async goOn(line, lost) {
    this.useLine(line);
    lost.release();
    if (!this.resumed) this.configure(); // it is another conversation
    if (this.state === 'reconnecting') this.show('listening');
    else this.show(this.state); // over which transport
    if (this.camera) await line.useCamera(this.camera, this.abilities.framesPerSecond);
    for (const text of this.unsaid.splice(0)) this.say(text);
  }

  giveUp() {
    const again = this.microphone.real ? () => Microphone.open() : () => Microphone.silent();
    view.textField.value ||= this.unsaid.join(' ');
    end(this, GIVEN_UP, { label: 'Start again', act: () => begin(again) });
  }

  watchMicrophone() {
    this.microphone.onlost = (words) => end(this, words);
  }

  async useMicrophone(microphone) {
    const old = this.microphone;
    this.microphone = microphone;
    this.watchMicrophone();
    await this.line.useMicrophone(microphone);
    old.close();
    this.show(this.state);
  }

  async switchCamera(deviceId) {
    if (this.switching) return;
    this.switching = true;
    try {
      if (this.camera && !deviceId) return await this.dropCamera();
      const camera = await Camera.open(deviceId);
      if (this.ended) return camera.close();
      this.camera?.close();
      this.camera = camera;
      camera.onlost = async (words) => {
        await this.dropCamera();
        view.showProblem(words);
      };
      view.showCamera(camera);
      await this.line.useCamera(camera, this.abilities.framesPerSecond);
    } finally {
      this.switching = false;
    }
  }

  async dropCamera() {
    this.camera.close();
    this.camera = null;
    view.showCamera(null);
    await this.line.useCamera(null);
  }

  // A file of the user's becomes an item of the conversation, about which he may ask.
  async bring(file) {
    const kind = kindOf(file);
    if (!this.abilities[kind]) return view.showProblem(NOT_TAKEN[kind]);
    const id = `item_brought_${this.brought.size + 1}`;
    const card = new Brought(kind, file, { view, remove: () => this.takeBack(id) });
    this.brought.set(id, card);
    view.addCard(id, 'user', card.element);
    try {
      const part = { type: { image: 'input_image', music: 'input_audio_file' }[kind], file_id: await upload(file) };
      if (kind === 'music') part.title = file.name;
      if (card.takenBack) return;
      this.line.send({ type: 'conversation.item.create', event_id: id, item: { id, type: 'message', role: 'user', content: [part] } });
    } catch (error) {
      card.refuse(error.message);
    }
  }

  takeBack(id) {
    const card = this.brought.get(id);
    card.takenBack = true;
    view.remove(id);
    if (card.there) this.line.send({ type: 'conversation.item.delete', item_id: id });
  }

  say(text) {
    if (this.state === 'reconnecting') return this.unsaid.push(text);
    if (this.responding) this.line.send({ type: 'response.cancel' });
    if (this.sounding && this.line.kind === 'WebRTC') this.line.send({ type: 'output_audio_buffer.clear' });
    this.line.interrupt();
    const content = [{ type: 'input_text', text }];
    this.line.send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content } });
    this.line.send({ type: 'response.create' });
  }

  show(state) {
    this.state = state;
    makeRoom(['hearing', 'thinking', 'speaking'].includes(state));
    this.playWaiting();
    view.showState(state, { kind: this.line?.kind, talking: this.microphone.real });
  }

  silent() {
    this.sounding = false;
    if (this.state === 'speaking' && !this.responding) this.show('listening');
  }

  // A new tune is played by itself, after what is said about it.
  playWaiting() {
    if (this.state !== 'listening' || this.sounding || this.responding) return;
    this.tune?.play();
    this.tune = null;
  }

  receive(event) {
    switch (event.type) {
      case 'session.created':
        this.resumed = false;
        return this.created(event.session);
      case 'session.resumed':
        return this.taken(event);
      case 'session.interrupted':
        return view.note('The model had to be restarted');
      case 'input_audio_buffer.speech_started':
        view.addTurn(event.item_id, 'user');
        this.line?.interrupt();
        return this.show('hearing');
      case 'input_audio_buffer.speech_stopped':
        this.stopwatch.speechStopped();
        return this.show('thinking');
      case 'conversation.item.added':
        return this.added(event.item, event.previous_item_id);
      case 'conversation.item.attachment.progress':
        return this.cards.get(event.item_id)?.progress(event);
      case 'conversation.item.attachment.completed':
        return this.completed(this.cards.get(event.item_id), event.part);
      case 'conversation.item.attachment.failed':
        return this.cards.get(event.item_id)?.end(event.error.message);
      case 'conversation.item.done':
        return event.item.status === 'incomplete' && this.cards.get(event.item.id)?.end('Stopped');
      case 'conversation.item.input_audio_transcription.delta':
        return view.addWords(event.item_id, event.delta);
      case 'conversation.item.input_audio_transcription.completed':
        return view.setWords(event.item_id, event.transcript || '(nothing understood)');
      case 'conversation.item.input_audio_transcription.failed':
        return view.remark(event.item_id, 'These words got lost.');
      case 'conversation.item.deleted':
        return !this.brought.has(event.item_id) && !this.cards.has(event.item_id) && view.remove(event.item_id);
      case 'conversation.item.truncated':
        return view.remark(event.item_id, 'interrupted');
      case 'response.created':
        this.responding = true;
        this.stopwatch.answering(event.response.id);
        view.hideProblem();
        return this.show('thinking');
      case 'response.output_audio_transcript.delta':
      case 'response.output_text.delta':
        return view.addWords(event.item_id, event.delta);
      case 'response.output_audio.delta':
      case 'output_audio_buffer.started':
        this.sounding = true;
        return this.state !== 'hearing' && this.state !== 'speaking' && this.show('speaking');
      case 'output_audio_buffer.stopped':
      case 'output_audio_buffer.cleared':
        return this.silent();
      case 'response.done':
        return this.done(event.response);
      case 'response.latency.updated':
        return this.stopwatch.told(event);
      case 'error':
        return this.complain(event.error);
    }
  }

  created({ extensions = [], video, attachments }) {
    const camera = extensions.includes('camera');
    this.abilities = {
      camera,
      framesPerSecond: video?.input?.max_fps ?? 1,
      image: camera,
      music: extensions.includes('music_input'),
      attachments: extensions.includes('attachments'),
    };
  }

  // The conversation that was lost is taken up again. What we have missed of it is among its items.
  taken({ session, items }) {
    this.resumed = true;
    this.created(session);
    this.show('listening');
    for (const item of items) {
      if (item.type !== 'message' || this.brought.has(item.id)) continue;
      const [part] = item.content;
      const words = item.content.map(({ transcript, text }) => transcript ?? text ?? '').join(' ');
      if (part?.attachment_id) this.catchUp(item, part);
      else if (part?.type !== 'input_image' && item.role !== 'system') {
        view.addTurn(item.id, item.role);
        if (words) view.setWords(item.id, words);
      }
    }
    view.removeEmptyTurns(items.map(({ id }) => id));
  }

  catchUp(item, part) {
    if (!this.cards.has(item.id)) this.answers(item);
    if (part.url) this.completed(this.cards.get(item.id), part);
  }

  added(item, previousId) {
    const { id, role, content } = item;
    const brought = this.brought.get(id);
    if (brought) return this.arrived(brought, id);
    if (role === 'assistant') return this.answers(item);
    if (role !== 'user') return;
    const picture = content?.find((part) => part.type === 'input_image');
    if (picture) return (this.sight = { id, url: picture.image_url });
    view.addTurn(id, 'user', content?.find((part) => part.type === 'input_text')?.text);
    for (const card of this.brought.values()) card.there && card.settle(); // he asks about it
    if (this.sight && this.sight.id === previousId) view.showSight(id, this.sight.url);
    this.sight = null;
  }

  arrived(card, id) {
    card.there = true;
    if (card.takenBack) return this.line.send({ type: 'conversation.item.delete', item_id: id });
    card.arrived();
  }

  answers(item) {
    const cancel = () => this.line.send({ type: 'conversation.item.delete', item_id: item.id });
    if (this.cards.has(item.id)) return; // we have caught up with it
    const card = cardOf(item, { view, cancel });
    if (card === null) return view.addTurn(item.id, 'assistant');
    this.cards.set(item.id, card);
    view.addCard(item.id, 'assistant', card.element);
  }

  completed(card, part) {
    if (!card || card.finished) return;
    card.complete(part);
    if (card.kind !== 'music') return;
    this.tune = card;
    this.playWaiting();
  }

  done({ status, status_details: details, output }) {
    this.responding = false;
    for (const { id } of output ?? []) {
      if (status === 'cancelled') view.remark(id, 'interrupted');
      if (status === 'incomplete') view.remark(id, 'That was as long as an answer may be.');
      if (status === 'failed') view.remark(id, details?.error?.message ?? 'The answer failed.', true);
    }
    if (status === 'failed') this.explain(details?.error);
    if (!this.sounding && this.state !== 'hearing') this.show('listening');
  }

  explain(error) {
    const restarting = ['worker_restarted', 'worker_unavailable'].includes(error?.code);
    view.showProblem(restarting
      ? 'The model had to be restarted. Give it a moment, then say it again.'
      : `There is no answer: ${error?.message ?? 'something went wrong.'}`);
  }

  complain({ code, message, event_id: cause }) {
    if (this.brought.has(cause)) return this.brought.get(cause).refuse(message);
    if (code === 'no_input_audio' && !this.microphone.real) return;
    if (code === 'session_resume_failed') return this.startedAnew();
    if (code === 'response_cancel_not_active') return; // it ended while we asked
    if (code === 'cannot_update_voice') return view.showProblem('The new voice speaks from the next conversation on.');
    view.showProblem(message);
  }

  startedAnew() {
    view.addBreak();
    view.showProblem('The conversation of before could not be taken up again. This is a new one.');
  }

  close() {
    this.ended = true;
    this.line?.close();
    this.microphone.close();
    this.camera?.close();
    view.showCamera(null);
    view.showAbilities();
    for (const card of this.cards.values()) card.end('Stopped with the conversation');
    for (const card of this.brought.values()) card.settle();
    stopMusic();
    makeRoom(false);
    view.levels.stop();
  }
}

async function begin(openMicrophone) {
  view.hideProblem();
  view.showState('connecting');
  const one = (conversation = new Conversation());
  try {
    const microphone = await openMicrophone();
    if (conversation !== one) return microphone.close();
    await one.start(microphone);
  } catch (error) {
    if (!(error instanceof MicrophoneError || error instanceof LineError)) console.error(error);
    if (conversation === one) end(one, error.message);
  }
}

function end(one, problem, action) {
  if (conversation !== one) return;
  conversation = null;
  if (one?.microphone) one.close();
  view.showState('idle');
  if (problem) view.showProblem(problem, action);
}

// Waits, but not longer than until the network is back.
function orOnline(ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
  });
}

async function talk() {
  const one = conversation;
  if (one === null) return begin(() => Microphone.open());
  if (!one.line || one.microphone.real || one.state === 'reconnecting') return end(one);
  try { // connected by typing: now the voice, too
    await one.useMicrophone(await Microphone.open());
  } catch (error) {
    view.showProblem(error.message);
  }
}

async function say(text) {
  if (conversation === null) await begin(() => Microphone.silent());
  if (conversation?.line) conversation.say(text);
}

async function bring(file) {
  if (conversation === null) await begin(() => Microphone.silent());
  if (conversation?.line) await conversation.bring(file);
}

async function switchCamera(deviceId) {
  view.hideProblem();
  try {
    await conversation?.switchCamera(deviceId);
  } catch (error) {
    view.showProblem(error.message);
  }
}

function pickVoice(name) {
  voice = name;
  localStorage.setItem('voice', name);
  conversation?.line?.send({ type: 'session.update', session: { type: 'realtime', audio: { output: { voice } } } });
}

async function showVoices() {
  try {
    ({ voices } = await (await fetch('health')).json());
    view.showVoices(voices, voices.includes(voice) ? voice : voices[0]);
  } catch {
    view.showProblem('The server cannot be reached. Is it running, and are you online?');
  }
}

view.on({
  talk,
  say,
  pickVoice,
  switchCamera: () => switchCamera(),
  useOtherCamera: () => switchCamera(conversation?.camera?.otherId),
});
watchForFiles({
  button: document.getElementById('add'),
  field: document.getElementById('files'),
  veil: document.getElementById('veil'),
  wanted: () => conversation === null || conversation.abilities.image || conversation.abilities.music,
  bring,
});
addEventListener('keydown', ({ key }) => {
  const looking = document.querySelector('dialog[open]') !== null; // it closes that
  if (key === 'Escape' && conversation && !looking) end(conversation);
});
for (const change of ['online', 'offline']) addEventListener(change, () => conversation?.line?.probe());
addEventListener('pagehide', () => conversation && end(conversation));
showVoices();

// For whoever wants to measure: what goes on, and how many seconds of sound (not silence) this conversation has played.
window.tertulia = {
  stats: () => ({
    state: conversation?.state ?? 'idle',
    transport: conversation?.line?.kind ?? null,
    heardSeconds: conversation?.line?.player?.heardSeconds ?? 0,
    microphoneLevel: conversation?.microphone?.level ?? 0,
  }),
};
