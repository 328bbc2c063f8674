// The user's camera: permission, preview, and pictures as a track (WebRTC) or as frames (WebSocket).

export class CameraError extends Error {}

const WORDS = {
  NotAllowedError: 'The camera was not allowed. Allow it in the browser’s address bar and switch it on again.',
  NotFoundError: 'No camera was found. Plug one in and switch it on again.',
  NotReadableError: 'The camera is in use by another program. Close that program and switch it on again.',
};
const NOT_HERE = 'The browser gives its camera only to pages on this computer or over https.';

const FRAME_SIDE = 512; // what the server would shrink it to
const FRAME_QUALITY = 0.8;

export class Camera {
  // Asks for the camera, one that looks away from the user if there are several. Call while handling the user's click.
  // Throws CameraError in plain words.
  static async open(deviceId) {
    if (!navigator.mediaDevices?.getUserMedia) throw new CameraError(NOT_HERE);
    const which = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: { ideal: 'environment' } };
    try {
      const video = { ...which, width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 15, max: 30 } };
      const camera = new Camera(await navigator.mediaDevices.getUserMedia({ video }));
      await camera.lookForOthers();
      return camera;
    } catch (error) {
      throw new CameraError(WORDS[error.name] ?? `The camera could not be opened: ${error.message}`);
    }
  }

  constructor(stream) {
    this.stream = stream;
    this.track = stream.getVideoTracks()[0];
    this.track.contentHint = 'detail'; // rather sharp than smooth
    this.onlost = () => {};
    this.track.onended = () => this.onlost('The camera was disconnected.');
    // The preview. Only it is a mirror, unless the camera looks away from the user.
    this.video = document.createElement('video');
    Object.assign(this.video, { srcObject: stream, muted: true, playsInline: true, autoplay: true });
    this.video.setAttribute('aria-label', 'What your camera shows');
    this.video.classList.toggle('mirror', this.track.getSettings().facingMode !== 'environment');
    this.video.play().catch(() => {}); // it goes on when it is in the page
  }

  async lookForOthers() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    const ids = devices.filter(({ kind }) => kind === 'videoinput').map((device) => device.deviceId);
    const next = ids[(ids.indexOf(this.track.getSettings().deviceId) + 1) % ids.length];
    this.otherId = ids.length > 1 ? next : null;
  }

  // Calls with a JPEG as a data URI so many times a second, until the camera is closed.
  sendFrames(onFrame, perSecond) {
    const canvas = document.createElement('canvas');
    this.clock = setInterval(() => {
      const { videoWidth: width, videoHeight: height } = this.video;
      if (width === 0) return; // nothing has come yet
      const scale = Math.min(1, FRAME_SIDE / Math.max(width, height));
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.getContext('2d').drawImage(this.video, 0, 0, canvas.width, canvas.height);
      onFrame(canvas.toDataURL('image/jpeg', FRAME_QUALITY));
    }, 1000 / perSecond);
  }

  close() {
    clearInterval(this.clock);
    this.track.onended = null;
    this.track.stop();
    this.video.srcObject = null;
    this.video.remove();
  }
}
