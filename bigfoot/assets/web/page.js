const at = (id) => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let count = 0;

worker.onmessage = ({ data: { id, value, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  error === undefined ? resolve(value) : reject(new Error(error));
};

function ask(task, value) {
  return new Promise((resolve, reject) => {
    waiting.set(++count, { resolve, reject });
    worker.postMessage({ id: count, task, value });
  });
}

// For other scripts too: from Float32Array, mono, at the model's rate, to { text, milliseconds }.
window.transcribe = (samples) => ask("transcribe", samples);

async function show(samples) {
  at("status").textContent = "transcribing";
  const { text, milliseconds } = await window.transcribe(samples);
  const { sample_rate: rate } = await facts;
  at("text").textContent = text;
  at("status").textContent =
    `${(samples.length / rate).toFixed(1)} s of audio in ${(milliseconds / 1000).toFixed(2)} s`;
}

function failed(error) {
  at("status").textContent = String(error.message ?? error);
}

let recording;

async function start() {
  const { sample_rate: sampleRate } = await facts;
  const raw = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
  const context = new AudioContext({ sampleRate });
  await context.audioWorklet.addModule("capture.js");
  const node = new AudioWorkletNode(context, "capture"), pieces = [];
  node.port.onmessage = ({ data }) => pieces.push(data);
  context.createMediaStreamSource(stream).connect(node);
  recording = { stream, context, pieces };
  at("record").textContent = "Stop";
  at("status").textContent = "recording";
}

async function stop() {
  const { stream, context, pieces } = recording;
  recording = undefined;
  at("record").textContent = "Record";
  stream.getTracks().forEach((track) => track.stop());
  await context.close();
  const samples = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let place = 0;
  for (const piece of pieces) {
    samples.set(piece, place);
    place += piece.length;
  }
  await show(samples);
}

async function read(file) {
  const { sample_rate: sampleRate } = await facts;
  // Decoding resamples to the rate of the context.
  const audio = await new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(await file.arrayBuffer());
  const samples = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    audio.getChannelData(channel).forEach((x, i) => { samples[i] += x / audio.numberOfChannels; });
  }
  await show(samples);
}

const facts = fetch("tokens.json").then((answer) => answer.json());
// ?ort=ADDRESS/ of another place with the files of onnxruntime-web.
const place = new URL(new URLSearchParams(location.search).get("ort") ?? "ort/", location.href).href;

ask("open", place).then(() => {
  at("record").disabled = at("file").disabled = false;
  at("status").textContent = "ready";
}).catch((error) => failed(`the model cannot be loaded: ${error.message} (onnxruntime-web from ${place})`));

at("record").onclick = () => (recording ? stop() : start()).catch(failed);
at("file").onchange = () => read(at("file").files[0]).catch(failed);
