// How long an answer took, drawn: one bar of its milestones, each in a colour, and behind it, opened, one row for each.

import { make } from './dom.js';

const NAMES = {
  end_of_speech_ms: 'Sure that you had ended',
  transcription_ms: 'Your words understood',
  first_token_ms: 'First word of the answer',
  first_speech_token_ms: 'First token of its sound',
  first_audio_ms: 'First chunk of sound',
  first_packet_ms: 'First packet sent',
  first_sound_ms: 'First sound here',
};

// `milestones`: {name: milliseconds since the user fell silent}. Unknown names are left out. Null where none is known.
export function waterfall(milestones) {
  const steps = stepsOf(milestones);
  if (steps.length === 0) return null;
  const last = steps.at(-1);
  const to = last.name === 'first_sound_ms' ? 'to the first sound' : 'until it was sent';
  const summary = make('summary', { title: 'How long this answer took, step by step' },
    make('span', { className: 'total' }, `${inWords(last.at)} `, make('span', { className: 'to' }, to)),
    make('span', { className: 'bar', ariaHidden: 'true' }, ...steps.map((step) => piece(step, last.at))));
  const rows = steps.map((step) => row(step, last.at));
  const legend = make('p', {}, 'Milliseconds since you fell silent, and how much of them each step took:');
  const timing = make('details', { className: 'timing', ariaLive: 'off' }, summary, legend, make('ol', {}, ...rows));
  timing.ontoggle = () => timing.open && timing.scrollIntoView({ block: 'nearest' });
  return timing;
}

// In the order of time, each from where the one before it ended.
function stepsOf(milestones) {
  const known = Object.keys(NAMES).filter((name) => Number.isFinite(milestones[name]));
  const steps = known.map((name) => ({ name, at: Math.max(0, milestones[name]) })).sort((a, b) => a.at - b.at);
  return steps.map((step, index) => ({ ...step, from: index ? steps[index - 1].at : 0 }));
}

function piece({ name, from, at }, end) {
  const each = make('i');
  each.dataset.step = name.replace(/_ms$/, '');
  each.style.width = share(at - from, end);
  return each;
}

function row(step, end) {
  const bar = piece(step, end);
  bar.style.marginLeft = share(step.from, end);
  const took = make('span', { className: 'took' }, `+${Math.round(step.at - step.from)}`);
  const at = make('span', { className: 'at' }, `${Math.round(step.at)} ms`);
  return make('li', {}, make('span', { className: 'name' }, NAMES[step.name]), took, at, make('span', { className: 'track', ariaHidden: 'true' }, bar));
}

function share(ms, end) {
  return `${end > 0 ? (100 * ms) / end : 0}%`;
}

function inWords(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
