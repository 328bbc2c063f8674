// Files that the user brings: what they are, pictures made small, and their way to the server.

export class UploadError extends Error {}

const PICTURE_SIDE = 1024;
const ENDINGS = { image: /\.(png|jpe?g|webp|gif|bmp|avif|heic)$/i, music: /\.(wav|mp3|flac|ogg|oga|opus|m4a|weba)$/i };

// 'image', 'music', or null for neither.
export function kindOf({ type, name }) {
  if (type.startsWith('image/') || ENDINGS.image.test(name)) return 'image';
  if (type.startsWith('audio/') || ENDINGS.music.test(name)) return 'music';
  return null;
}

// Resolves to the file's id at the server. Throws UploadError in plain words.
export async function upload(file) {
  const body = kindOf(file) === 'image' ? await shrunk(file) : file;
  let response;
  try {
    response = await fetch('v1/realtime/attachments', { method: 'POST', body });
  } catch {
    throw new UploadError('The file did not get through. Are you still online?');
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new UploadError(answer?.error?.message ?? `The server answered with status ${response.status}.`);
  return answer.id;
}

// A photograph of many megabytes as a small JPEG, on white. What the browser cannot read goes as it is: the server has
// the words for what is wrong with it.
async function shrunk(file) {
  try {
    const image = await createImageBitmap(file);
    const scale = Math.min(1, PICTURE_SIDE / Math.max(image.width, image.height));
    const canvas = new OffscreenCanvas(Math.max(1, image.width * scale), Math.max(1, image.height * scale));
    const pen = canvas.getContext('2d');
    pen.fillStyle = '#fff';
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.92 });
  } catch {
    return file;
  }
}

// Where files may come from: the button, the clipboard, and what is dropped on the page. `wanted` says whether a drop
// is of use now; `bring` takes each file.
export function watchForFiles({ button, field, veil, wanted, bring }) {
  const bringAll = async (files) => {
    for (const file of [...files]) await bring(file);
  };
  button.onclick = () => field.click();
  field.onchange = () => {
    bringAll(field.files);
    field.value = ''; // the same file may be picked again
  };
  addEventListener('paste', (event) => {
    const files = event.clipboardData?.files ?? [];
    if (files.length === 0) return; // words, for the text field
    event.preventDefault();
    bringAll(files);
  });
  let depth = 0; // each element that is entered and left says so
  const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
  const cover = (more) => {
    depth = Math.max(0, depth + more);
    veil.hidden = depth === 0 || !wanted();
  };
  addEventListener('dragenter', (event) => carriesFiles(event) && cover(1));
  addEventListener('dragleave', (event) => carriesFiles(event) && cover(-1));
  addEventListener('dragover', (event) => carriesFiles(event) && event.preventDefault());
  addEventListener('drop', (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault(); // or the browser would leave the page for the file
    depth = 0;
    cover(0);
    bringAll(event.dataTransfer.files);
  });
}
