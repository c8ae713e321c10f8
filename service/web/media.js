/* media.js - pictures and sounds that a person gives: dropped, pasted, chosen or recorded. The service takes
 * JPEG and PNG, WAV, FLAC, Ogg and MP3; what else the browser can show or play (WebP, a telephone's M4A) is
 * turned into these here, and a telephone's twelve megapixels are made smaller before they travel. */
const PICTURE_SIDE = 1024; // pixels; no network looks at more
const FILE_MOST = 4 << 20; // bytes that are sent as they are
const SOUND_RATE = 32000; // Hz
const SOUND_SECONDS = 60;
const RECORD_SECONDS = 20;

function toDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

async function pictureOf(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) throw new Error(`${file.name || "This"} is not a picture that this browser can show.`);
  const scale = Math.min(1, PICTURE_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && file.size <= FILE_MOST && /^image\/(jpeg|png)$/.test(file.type)) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff"; // as the service does with what is transparent
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

/* 16-bit mono WAV of what the browser can decode. */
async function wavOf(blob, name) {
  const context = new OfflineAudioContext(1, 1, SOUND_RATE); // decoding resamples to its rate
  const sound = await context.decodeAudioData(await blob.arrayBuffer()).catch(() => null);
  if (!sound) throw new Error(`${name} is not a sound that this browser can play.`);
  const samples = Math.min(sound.length, SOUND_SECONDS * SOUND_RATE);
  const channels = Array.from({ length: sound.numberOfChannels }, (_, i) => sound.getChannelData(i));
  const view = new DataView(new ArrayBuffer(44 + 2 * samples));
  const word = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  word(0, "RIFF"), view.setUint32(4, 36 + 2 * samples, true), word(8, "WAVEfmt ");
  view.setUint32(16, 16, true), view.setUint16(20, 1, true), view.setUint16(22, 1, true);
  view.setUint32(24, SOUND_RATE, true), view.setUint32(28, 2 * SOUND_RATE, true);
  view.setUint16(32, 2, true), view.setUint16(34, 16, true), word(36, "data"), view.setUint32(40, 2 * samples, true);
  for (let i = 0; i < samples; i++) {
    const mean = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
    view.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, mean)), true);
  }
  return new Blob([view], { type: "audio/wav" });
}

/* {kind, data, name} of a file, or an Error in words. */
export async function mediaOf(file) {
  const name = file.name || "pasted";
  if (file.type.startsWith("image/")) return { kind: "image", name, data: await toDataUrl(await pictureOf(file)) };
  if (!/^audio\/|^video\/(ogg|webm|mp4)|^application\/ogg/.test(file.type))
    throw new Error(`${name} is neither a picture nor a sound.`);
  const asIs = file.size <= FILE_MOST && /(wav|wave|flac|ogg|mpeg|mp3|aiff)$/.test(file.type);
  return { kind: "audio", name, data: await toDataUrl(asIs ? file : await wavOf(file, name)) };
}

/* Listens until stop() or for RECORD_SECONDS. {stop, sound: a promise of {kind, data, name}} */
export async function record(tick) {
  if (!navigator.mediaDevices?.getUserMedia)
    throw new Error("This browser records only on pages that come by HTTPS or from this machine.");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true }).catch((error) => {
    throw new Error(error.name === "NotFoundError" ? "No microphone was found."
      : "The microphone may not be used here.");
  });
  const recorder = new MediaRecorder(stream);
  const pieces = [];
  let seconds = 0;
  const clock = setInterval(() => (tick(++seconds), seconds >= RECORD_SECONDS && recorder.stop()), 1000);
  recorder.ondataavailable = (event) => pieces.push(event.data);
  const ended = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start();
  const sound = ended.then(async () => {
    clearInterval(clock);
    stream.getTracks().forEach((track) => track.stop());
    const wav = await wavOf(new Blob(pieces, { type: recorder.mimeType }), "The recording");
    return { kind: "audio", name: "recording", data: await toDataUrl(wav) };
  });
  return { stop: () => recorder.state === "recording" && recorder.stop(), sound };
}
