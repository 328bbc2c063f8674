// The page: what the user does and what the server says, joined.

import { Microphone, MicrophoneError } from './microphone.js';
import { openLine, LineError } from './realtime.js';
import { View } from './view.js';

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

  async start(microphone) {
    this.microphone = microphone;
    this.watchMicrophone();
    this.show('connecting');
    view.levels.start(() => ({ mine: this.microphone.level, theirs: this.line?.player?.level ?? 0 }));
    const line = await openLine({
      microphone,
      element,
      only,
      onEvent: (event) => this.receive(event),
      onLost: (words) => end(this, words),
    });
    if (this.ended) return line.close();
    this.line = line;
    view.addBreak();
    line.over = () => this.silent();
    const turnDetection = { type: 'server_vad', create_response: true, interrupt_response: true };
    const audio = { input: { transcription: { model: 'default' }, turn_detection: turnDetection } };
    if (voices.includes(voice)) audio.output = { voice };
    line.send({ type: 'session.update', session: { type: 'realtime', audio } });
    this.show('listening');
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

  say(text) {
    if (this.responding) this.line.send({ type: 'response.cancel' });
    if (this.sounding && this.line.kind === 'WebRTC') this.line.send({ type: 'output_audio_buffer.clear' });
    this.line.interrupt();
    const content = [{ type: 'input_text', text }];
    this.line.send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content } });
    this.line.send({ type: 'response.create' });
  }

  show(state) {
    this.state = state;
    view.showState(state, { kind: this.line?.kind, talking: this.microphone.real });
  }

  silent() {
    this.sounding = false;
    if (this.state === 'speaking' && !this.responding) this.show('listening');
  }

  receive(event) {
    switch (event.type) {
      case 'input_audio_buffer.speech_started':
        view.addTurn(event.item_id, 'user');
        this.line?.interrupt();
        return this.show('hearing');
      case 'input_audio_buffer.speech_stopped':
        return this.show('thinking');
      case 'conversation.item.added':
        return this.added(event.item);
      case 'conversation.item.input_audio_transcription.delta':
        return view.addWords(event.item_id, event.delta);
      case 'conversation.item.input_audio_transcription.completed':
        return view.setWords(event.item_id, event.transcript || '(nothing understood)');
      case 'conversation.item.input_audio_transcription.failed':
        return view.remark(event.item_id, 'These words got lost.');
      case 'conversation.item.truncated':
        return view.remark(event.item_id, 'interrupted');
      case 'response.created':
        this.responding = true;
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
      case 'error':
        return this.complain(event.error);
    }
  }

  added({ id, role, content }) {
    if (role === 'assistant') return view.addTurn(id, 'assistant');
    const text = content?.find((part) => part.type === 'input_text')?.text;
    if (role === 'user') view.addTurn(id, 'user', text);
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

  complain({ code, message }) {
    if (code === 'no_input_audio' && !this.microphone.real) return;
    if (code === 'response_cancel_not_active') return; // it ended while we asked
    if (code === 'cannot_update_voice') return view.showProblem('The new voice speaks from the next conversation on.');
    view.showProblem(message);
  }

  close() {
    this.ended = true;
    this.line?.close();
    this.microphone.close();
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

function end(one, problem) {
  if (conversation !== one) return;
  conversation = null;
  if (one?.microphone) one.close();
  view.showState('idle');
  if (problem) view.showProblem(problem);
}

async function talk() {
  const one = conversation;
  if (one === null) return begin(() => Microphone.open());
  if (!one.line || one.microphone.real) return end(one);
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

view.on({ talk, say, pickVoice });
addEventListener('keydown', ({ key }) => key === 'Escape' && conversation && end(conversation));
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
