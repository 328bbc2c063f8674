// Everything that the page shows. Knows no protocol: others say what is the case.

import { make } from './dom.js';

const STATUS = {
  idle: 'Press the button and talk',
  connecting: 'Connecting…',
  reconnecting: 'Connection lost. Reconnecting…',
  listening: 'Listening',
  hearing: 'I hear you',
  thinking: 'Thinking…',
  speaking: 'Speaking',
};
const TYPING = 'Type, or press the button to talk';

const HINTS = [
  'Hello, who are you?',
  'What can you do?',
  'What is six plus eleven?',
  'What sound does a lion make?',
  'What is the opposite of big?',
  'Tell me a joke',
  'My name is Lisa',
  'What is my name?',
  'Count up to ten',
  'What did I just say?',
];

const HINTS_OF = {
  camera: ['What is this?', 'What colour is it?'],
  attachments: ['Draw me a red apple', 'Play some happy piano music'],
};
const BRINGABLE = { image: 'a picture', music: 'music' };

const element = (id) => document.getElementById(id);

export class View {
  constructor() {
    this.turns = new Map(); // by item
    this.state = 'idle';
    this.talk = element('talk');
    this.voice = element('voice');
    this.textField = element('text');
    this.scroller = element('conversation');
    this.levels = new Levels(element('levels'), this.talk);
    document.body.classList.add('fresh');
    element('hints').append(...HINTS.map((words) => this.hint(words)));
    element('problem-close').onclick = () => this.hideProblem();
    this.watchViewer(element('viewer'));
    this.showAbilities();
  }

  // What the user does. Handlers: talk(), say(text), pickVoice(name), switchCamera(), useOtherCamera().
  on({ talk, say, pickVoice, switchCamera, useOtherCamera }) {
    this.talk.onclick = talk;
    element('camera').onclick = switchCamera;
    element('camera-off').onclick = () => {
      element('camera').focus();
      switchCamera();
    };
    element('other-camera').onclick = useOtherCamera;
    this.voice.onchange = () => pickVoice(this.voice.value);
    element('hints').onclick = ({ target }) => target.matches('button') && say(target.textContent);
    element('type').onsubmit = (event) => {
      event.preventDefault();
      const text = this.textField.value.trim();
      if (text === '') return this.textField.focus();
      this.textField.value = '';
      say(text);
    };
  }

  hint(words) {
    return make('li', {}, make('button', { type: 'button', textContent: words }));
  }

  // `kind`: the transport, once there is one. `talking`: the microphone is on.
  showState(state, { kind = '', talking = false } = {}) {
    this.state = state;
    document.body.dataset.state = state;
    const active = state !== 'idle';
    const pressed = state === 'connecting' || (active && talking);
    this.talk.setAttribute('aria-pressed', String(pressed));
    this.talk.setAttribute('aria-label', pressed ? 'Stop talking' : 'Start talking');
    element('status').textContent = state === 'listening' && !talking ? TYPING : STATUS[state];
    element('connection-words').textContent = { idle: 'Not connected', connecting: 'Connecting', reconnecting: 'Reconnecting' }[state] ?? 'Connected';
    element('connection-kind').textContent = ['idle', 'connecting', 'reconnecting'].includes(state) ? '' : `· ${kind}`;
  }

  showVoices(names, chosen) {
    this.voice.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
    this.voice.disabled = names.length === 0;
  }

  // What this conversation can do besides talking: {camera, image, music, attachments}, each true if it can. None: talk.
  showAbilities(abilities = {}) {
    element('camera').hidden = !abilities.camera;
    const bringable = Object.keys(BRINGABLE).filter((kind) => abilities[kind]);
    const words = bringable.map((kind) => BRINGABLE[kind]).join(' or ');
    element('add').hidden = bringable.length === 0;
    element('add').title = `Add ${words}`;
    element('add').setAttribute('aria-label', `Add ${words}`);
    element('files').accept = bringable.map((kind) => ({ image: 'image/*', music: 'audio/*' })[kind]).join();
    element('veil-words').textContent = `Drop ${words} here`;
    for (const hint of document.querySelectorAll('.hints .more')) hint.remove();
    const more = Object.keys(HINTS_OF).filter((name) => abilities[name]).flatMap((name) => HINTS_OF[name]).map((each) => this.hint(each));
    for (const hint of more) hint.className = 'more';
    element('hints').prepend(...more);
    element('hints').scrollLeft = 0;
  }

  // `camera`: its preview and whether there is another; null: it is off.
  showCamera(camera) {
    element('camera').setAttribute('aria-pressed', String(camera !== null));
    element('sight').hidden = camera === null;
    document.body.classList.toggle('watching', camera !== null);
    if (camera === null) return;
    element('sight').prepend(camera.video);
    element('other-camera').hidden = camera.otherId === null;
  }

  // A picture in its full size, with a button to have it.
  openPicture({ url, name, file }) {
    element('viewer-picture').src = url;
    element('viewer-picture').alt = name;
    element('viewer-name').textContent = name;
    Object.assign(element('viewer-download'), { href: url, download: file });
    element('viewer').showModal();
  }

  watchViewer(viewer) {
    element('viewer-close').onclick = () => viewer.close();
    viewer.onclick = ({ target }) => target === viewer && viewer.close(); // beside the picture
  }

  // `action`: {label, act}, a button to do something about it.
  showProblem(words, action) {
    element('problem-words').textContent = words;
    element('problem-action').hidden = action === undefined;
    element('problem-action').textContent = action?.label ?? '';
    element('problem-action').onclick = action?.act ?? null;
    element('problem').hidden = false;
  }

  hideProblem() {
    element('problem').hidden = true;
  }

  // A turn of the user or the assistant, empty (three dots) until words are known.
  addTurn(id, role, text = '') {
    if (!this.turns.has(id)) this.place(id, role, make('span', { className: 'words', textContent: text }));
  }

  // Something else than words, as a turn of its own.
  addCard(id, role, card) {
    this.place(id, role, card).classList.add('holds-card');
  }

  place(id, role, content) {
    element('welcome').hidden = true;
    document.body.classList.remove('fresh');
    const speaker = make('span', { className: 'unseen' }, role === 'user' ? 'You: ' : 'Tertulia: ');
    const turn = make('li', { className: `turn ${role}` }, speaker, content);
    this.turns.set(id, turn);
    this.keepAtEnd(() => element('turns').append(turn));
    return turn;
  }

  // What the camera showed when the user said this.
  showSight(id, picture) {
    const turn = this.turns.get(id);
    if (!turn || turn.querySelector('.seen')) return;
    const image = make('img', { src: picture, alt: 'What your camera showed' });
    const seen = make('figure', { className: 'seen' }, image, make('figcaption', {}, 'This is what I see'));
    this.keepAtEnd(() => turn.prepend(seen));
  }

  remove(id) {
    this.turns.get(id)?.remove();
    this.turns.delete(id);
  }

  addWords(id, delta) {
    const words = this.words(id);
    if (words) this.keepAtEnd(() => (words.textContent = (words.textContent + delta).trimStart()));
  }

  setWords(id, text) {
    const words = this.words(id);
    if (words) this.keepAtEnd(() => (words.textContent = text.trim()));
  }

  // A remark under a turn: that it was interrupted, or what went wrong.
  remark(id, text, failed = false) {
    const turn = this.turns.get(id);
    if (!turn || turn.querySelector('.aside')) return;
    const aside = make('small', { className: 'aside', textContent: text });
    turn.classList.toggle('failed', failed);
    if (turn.querySelector('.words').textContent === '') turn.querySelector('.words').textContent = '…';
    this.keepAtEnd(() => turn.append(aside));
  }

  // How long an answer took, under it; in the place of what was known before.
  showTiming(id, timing) {
    const turn = this.turns.get(id);
    if (!turn || !timing) return;
    const before = turn.querySelector('.timing');
    timing.open = before?.open ?? false;
    this.keepAtEnd(() => (before ? before.replaceWith(timing) : turn.append(timing)));
  }

  removeIfEmpty(id) {
    if (this.words(id)?.textContent === '') this.remove(id);
  }

  // Those that never got words, but for the ones named.
  removeEmptyTurns(but = []) {
    for (const id of [...this.turns.keys()]) if (!but.includes(id)) this.removeIfEmpty(id);
  }

  // What follows knows nothing of what came before.
  addBreak() {
    if (this.turns.size === 0) return;
    this.removeEmptyTurns();
    this.turns.clear();
    this.note('New conversation');
  }

  // A line between the turns.
  note(words) {
    this.keepAtEnd(() => element('turns').append(make('li', { className: 'break', textContent: words })));
  }

  words(id) {
    return this.turns.get(id)?.querySelector('.words');
  }

  // Scrolls along, unless the user has scrolled up to read.
  keepAtEnd(change) {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    const following = scrollTop + clientHeight > scrollHeight - 80;
    change();
    if (following) this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}

// The microphone's level to the left of the button and the answer's to the right, the last seconds of both.
class Levels {
  constructor(canvas, button) {
    this.canvas = canvas;
    this.button = button;
    this.mine = [];
    this.theirs = [];
    this.calm = matchMedia('(prefers-reduced-motion: reduce)');
  }

  // `read` gives {mine, theirs}, 0..1. Runs until `stop`.
  start(read) {
    this.stop();
    this.clock = setInterval(() => {
      const { mine, theirs } = read();
      this.mine.unshift(mine);
      this.theirs.unshift(theirs);
      this.mine.length = Math.min(this.mine.length, 120);
      this.theirs.length = Math.min(this.theirs.length, 120);
      this.button.style.setProperty('--level', mine.toFixed(2));
      this.draw();
    }, 50);
  }

  stop() {
    clearInterval(this.clock);
    this.mine = [];
    this.theirs = [];
    this.button.style.removeProperty('--level');
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio;
    const { clientWidth: width, clientHeight: height } = canvas;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext('2d');
    pen.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const edge = this.button.offsetWidth / 2 + 22;
    this.bars(pen, this.mine, width / 2 - edge, -1, height, style.getPropertyValue('--soft'));
    this.bars(pen, this.theirs, width / 2 + edge, 1, height, style.getPropertyValue('--accent'));
  }

  bars(pen, levels, from, direction, height, colour) {
    const shown = this.calm.matches ? levels.slice(0, 1) : levels;
    const reach = from * (direction < 0 ? 1 : 0) + (direction > 0 ? this.canvas.clientWidth - from : 0);
    pen.fillStyle = colour;
    shown.forEach((level, index) => {
      const away = index * 6;
      if (away > reach) return;
      const length = 3 + level * level * (height - 30);
      pen.globalAlpha = 0.75 * (1 - away / reach) ** 1.5;
      pen.beginPath();
      pen.roundRect(from + direction * away - 1.5, (height - length) / 2, 3, length, 1.5);
      pen.fill();
    });
  }
}
