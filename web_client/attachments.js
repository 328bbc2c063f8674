// Cards for what is more than words: drawings and tunes while they are made and when they are there, and the pictures
// and the music that the user brings. Each card is given to the view as a turn of its own.

import { icon, make } from './dom.js';
import { Tune } from './tune.js';

const MAKING = { image: 'Drawing', music: 'Composing' };
const NAMELESS = { image: 'A drawing', music: 'Some music' };

// The card of an attachment's item; null for an item that is none. `cancel`: the user does not want it any more.
// `view`: opens pictures at full size.
export function cardOf(item, { cancel, view }) {
  const part = item.content?.find(({ type }) => type === 'output_image' || type === 'output_audio_file');
  if (!part) return null;
  const Kind = part.type === 'output_image' ? Drawing : Music;
  return new Kind(part, cancel, view);
}

// A card that is being made: its name, how far it is, and a button to have it stopped.
class Made {
  constructor(kind, { prompt }, cancel) {
    this.kind = kind;
    this.name = prompt ? prompt[0].toUpperCase() + prompt.slice(1) : NAMELESS[kind];
    this.finished = false;
    this.state = make('span', { className: 'making' }, `${MAKING[kind]}…`);
    this.bar = make('progress', { max: 1, 'aria-label': `${MAKING[kind]}: ${this.name}` });
    this.stop = make('button', { type: 'button', className: 'small', title: 'Stop' }, icon('close'));
    this.stop.setAttribute('aria-label', `Stop: ${this.name}`);
    this.stop.onclick = () => {
      this.end('Stopped');
      cancel();
    };
    this.actions = make('span', { className: 'actions' }, this.stop);
    this.caption = make('div', { className: 'caption' }, make('span', { className: 'name' }, this.name), this.state, this.actions);
    this.element = make('div', { className: `card ${kind}`, 'aria-busy': 'true' });
  }

  progress({ progress }) {
    if (!this.finished) this.bar.value = progress;
  }

  // It is there.
  complete({ url, mime_type: type, alternatives = [] }) {
    if (this.finished) return false;
    this.settle();
    this.state.remove();
    this.stop.replaceWith(...[{ url, mime_type: type }, ...alternatives].map((file, n) => this.download(file, n === 0)));
    return true;
  }

  // It came to nothing.
  end(words) {
    if (this.finished) return;
    this.settle();
    this.element.classList.add('ended');
    this.stop.remove();
    this.state.textContent = words;
  }

  settle() {
    this.finished = true;
    this.bar.remove();
    this.element.removeAttribute('aria-busy');
  }

  download({ url, mime_type: type }, first) {
    const ending = url.split('.').at(-1);
    const link = make('a', { href: url, download: fileName(this.name, ending), className: 'small' }, icon('download'));
    link.setAttribute('aria-label', `Download ${this.name} (${ending.toUpperCase()})`);
    link.title = `Download (${ending.toUpperCase()})`;
    link.type = type;
    if (!first || this.kind === 'music') link.append(ending.toUpperCase());
    return link;
  }
}

class Drawing extends Made {
  constructor(part, cancel, view) {
    super('image', part, cancel);
    this.view = view;
    this.picture = make('img', { alt: '', className: 'unfinished', hidden: true });
    this.open = make('button', { type: 'button', className: 'picture', disabled: true }, this.picture);
    this.open.setAttribute('aria-label', `${this.name}, being drawn`);
    this.element.append(this.open, this.bar, this.caption);
  }

  progress(event) {
    super.progress(event);
    if (event.thumbnail && !this.finished) this.show(event.thumbnail);
  }

  complete(part) {
    if (!super.complete(part)) return;
    const { url } = part;
    this.show(part.thumbnail); // until the whole of it is there
    const whole = make('img', { src: url });
    whole.decode().then(() => {
      this.show(url);
      this.picture.classList.remove('unfinished');
    }, () => {});
    this.picture.alt = part.alt || this.name;
    this.open.disabled = false;
    this.open.setAttribute('aria-label', `${this.name}: show it in full size`);
    this.open.onclick = () => this.view.openPicture({ url, name: this.name, file: fileName(this.name, url.split('.').at(-1)) });
  }

  show(src) {
    if (!src) return;
    this.picture.src = src;
    this.picture.hidden = false;
  }
}

class Music extends Made {
  constructor(part, cancel) {
    super('music', part, cancel);
    this.tune = new Tune(this.name);
    this.element.append(this.tune.element, this.bar, this.caption);
  }

  complete(part) {
    if (super.complete(part)) this.tune.load(part.url, part.duration_ms / 1000);
  }

  play() {
    this.tune.play();
  }
}

// A picture or music that the user brings: on its way, in the conversation, or refused. `remove`: take it back.
export class Brought {
  constructor(kind, file, { remove, view }) {
    this.element = make('div', { className: `card ${kind} brought`, 'aria-busy': 'true' });
    this.name = file.name || (kind === 'image' ? 'Picture' : 'Music');
    this.state = make('span', { className: 'making' }, 'Sending…');
    this.remove = make('button', { type: 'button', className: 'small', title: 'Take it back' }, icon('close'));
    this.remove.setAttribute('aria-label', `Take back: ${this.name}`);
    this.remove.onclick = remove;
    const url = URL.createObjectURL(file); // as long as the page: the card stays
    if (kind === 'image') {
      const picture = make('button', { type: 'button', className: 'picture' }, make('img', { src: url, alt: this.name }));
      picture.setAttribute('aria-label', `${this.name}: show it in full size`);
      picture.onclick = () => view.openPicture({ url, name: this.name, file: this.name });
      this.element.append(picture);
    } else {
      this.tune = new Tune(this.name);
      this.tune.load(url);
      this.element.append(this.tune.element);
    }
    const name = make('span', { className: 'name' }, this.name);
    this.element.append(make('div', { className: 'caption' }, name, this.state, make('span', { className: 'actions' }, this.remove)));
  }

  // The server has it.
  arrived() {
    this.element.removeAttribute('aria-busy');
    this.state.textContent = 'Now ask about it';
  }

  // It has been answered, or the conversation is over.
  settle() {
    this.element.removeAttribute('aria-busy');
    this.state.textContent = '';
    this.remove.remove();
  }

  refuse(words) {
    this.settle();
    this.element.classList.add('ended');
    this.state.textContent = words;
  }
}

function fileName(name, ending) {
  const plain = name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 60);
  return `${plain || 'tertulia'}.${ending}`;
}
