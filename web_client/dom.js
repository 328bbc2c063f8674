// Elements of the page, made in one line each.

// An element with properties (those with a dash or of unknown name become attributes) and children.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const SHAPES = {
  play: '<path d="M8 5.5v13l10.5-6.5z" fill="currentColor"/>',
  pause: '<path d="M9 6v12M15 6v12" stroke-width="3"/>',
  download: '<path d="M12 4v11M7.5 11l4.5 4.5 4.5-4.5M5 20h14"/>',
  close: '<path d="M7 7l10 10M17 7L7 17"/>',
};

export function icon(name) {
  const shape = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  shape.setAttribute('viewBox', '0 0 24 24');
  shape.setAttribute('aria-hidden', 'true');
  shape.classList.add('icon');
  shape.innerHTML = SHAPES[name];
  return shape;
}
