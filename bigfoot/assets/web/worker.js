// Runs the model away from the page, so that the page stays responsive.
let session, tokens;

async function open(place) {
  const ort = await import(`${place}ort.wasm.min.mjs`);
  // Absolute, for the runtime imports its own files from wherever it lies.
  ort.env.wasm.wasmPaths = place;
  // More threads need headers that a static server does not send.
  ort.env.wasm.numThreads = 1;
  tokens = await (await fetch("tokens.json")).json();
  const model = new Uint8Array(await (await fetch("model.onnx")).arrayBuffer());
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  self.run = (samples) =>
    session.run({ input_values: new ort.Tensor("float32", samples, [1, samples.length]) });
}

// The best token of every frame, repetitions once, without blanks.
function decode(logits, frames) {
  const size = tokens.symbols.length;
  let text = "", before = -1;
  for (let frame = 0; frame < frames; frame++) {
    let best = 0;
    for (let token = 1; token < size; token++) {
      if (logits[frame * size + token] > logits[frame * size + best]) best = token;
    }
    if (best !== before && best !== tokens.blank) text += tokens.symbols[best];
    before = best;
  }
  return text.replaceAll("\u2581", " ").trim().replace(/ +/g, " ");
}

async function transcribe(samples) {
  if (!samples.length) return { text: "", milliseconds: 0 };
  const start = performance.now();
  const { logits, frames } = await self.run(samples);
  const text = decode(logits.data, Number(frames.data[0]));
  return { text, milliseconds: performance.now() - start };
}

self.onmessage = async ({ data: { id, task, value } }) => {
  try {
    self.postMessage({ id, value: task === "open" ? await open(value) : await transcribe(value) });
  } catch (error) {
    self.postMessage({ id, error: String(error) });
  }
};
