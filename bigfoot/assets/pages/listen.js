"use strict";
const find = (id) => document.getElementById(id);
const player = find("player");
let recording = null; // a blob
let until = null; // where a word that is played ends

// An element with a class and children; texts are never read as HTML.
function make(tag, kind, ...children) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...children);
  return element;
}

const number = (value, digits, factor = 1) => (value === undefined || value === null ? "–" : (factor * value).toFixed(digits));

function show(message) {
  find("status").textContent = message;
}

function take(blob, text, what) {
  recording = blob;
  if (player.src) URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(blob);
  player.hidden = false;
  find("text").value = text;
  find("compare").disabled = false;
  show(what);
}

function play(start, end) {
  player.currentTime = start;
  until = end;
  player.play();
}

player.addEventListener("timeupdate", () => {
  if (until !== null && player.currentTime >= until) {
    player.pause();
    until = null;
  }
  for (const head of document.querySelectorAll(".head")) head.style.left = `${(100 * player.currentTime) / head.dataset.seconds}%`;
});

function drawWave(peaks) {
  const canvas = make("canvas");
  canvas.width = 1200;
  canvas.height = 144;
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--link");
  const wide = canvas.width / peaks.length;
  peaks.forEach((peak, index) => context.fillRect(index * wide, 72 - 68 * peak, Math.max(1, wide), Math.max(1, 136 * peak)));
  return canvas;
}

function drawLane(words, seconds, label) {
  const lane = make("div", "lane");
  lane.setAttribute("aria-label", label);
  for (const word of words) {
    const button = make("button", "", word.text);
    button.type = "button";
    button.style.left = `${(100 * word.start) / seconds}%`;
    button.style.width = `${(100 * (word.end - word.start)) / seconds}%`;
    button.style.opacity = 0.35 + 0.65 * (word.confidence ?? 1);
    const sure = word.confidence === null ? "" : `, confidence ${word.confidence.toFixed(2)}`;
    button.title = `${word.text}: ${word.start.toFixed(2)} to ${word.end.toFixed(2)} s${sure}`;
    button.addEventListener("click", () => play(word.start, word.end));
    lane.append(button);
  }
  return lane;
}

function drawTrack(peaks, seconds, lanes) {
  const head = make("div", "head");
  head.dataset.seconds = seconds;
  const canvas = drawWave(peaks);
  canvas.addEventListener("click", (event) => play((seconds * event.offsetX) / canvas.clientWidth, null));
  return make("div", "track", canvas, ...lanes, head);
}

function drawErrors(errors) {
  const verdict = `WER ${number(errors.wer, 1, 100)} %: ${errors.errors} wrong in ${errors.words} words`;
  const words = errors.pairs.map((pair) =>
    make("span", `word ${pair.kind === "hit" ? "hit" : pair.kind}`,
      make("span", "reference", pair.reference || "·"), make("span", "hypothesis", pair.hypothesis || "·")));
  return [make("p", "verdict", verdict), make("p", "words", ...words.flatMap((word) => [word, " "]))];
}

function drawModel(found, offered, answer) {
  const card = make("article", "", make("h3", "", found.name));
  card.dataset.model = found.name;
  if (found.failed) {
    card.append(make("p", "failed", found.failed));
    return card;
  }
  const speed = `${number(found.seconds, 2)} s for ${number(answer.seconds, 1)} s of audio (${number(answer.seconds / found.seconds, 0)} times real time), `;
  card.append(make("p", "legend", `${offered.role ? `${offered.role}, ` : ""}${speed}${number(offered.size_bytes, 1, 1e-6)} MB`));
  card.append(make("p", "text", found.text || "(nothing)"));
  const lanes = [drawLane(found.words, answer.seconds, "transcript")];
  if (found.expected?.length) lanes.push(drawLane(found.expected, answer.seconds, "given text"));
  card.append(drawTrack(answer.peaks, answer.seconds, lanes));
  if (found.reason) card.append(make("p", "failed", `The given text cannot be aligned: ${found.reason}`));
  if (found.errors) card.append(...drawErrors(found.errors));
  return card;
}

async function compare(offer) {
  const names = [...document.querySelectorAll("#models input:checked")].map((box) => box.value);
  if (!names.length) return show("Choose a model.");
  const form = new FormData();
  for (const name of names) form.append("model", name);
  form.append("text", find("text").value);
  form.append("file", recording, "recording");
  show("Computing …");
  find("compare").disabled = true;
  try {
    const response = await fetch("api/compare", { method: "POST", body: form });
    const answer = await response.json();
    if (!response.ok) return show(answer.error.message);
    const offered = Object.fromEntries(offer.models.map((model) => [model.name, model]));
    find("results").replaceChildren(...answer.models.map((found) => drawModel(found, offered[found.name], answer)));
    find("comparison").hidden = false;
    show("");
  } catch (error) {
    show(`The server does not answer: ${error}`);
  } finally {
    find("compare").disabled = false;
  }
}

function listModels(offer) {
  const teachers = offer.models.filter((model) => model.role === "teacher");
  const students = offer.models.filter((model) => model.role === "student");
  const chosen = teachers.length ? [...teachers, ...students.slice(-1)] : offer.models.slice(0, 2);
  for (const model of offer.models) {
    const box = make("input");
    box.type = "checkbox";
    box.value = model.name;
    box.checked = chosen.includes(model);
    const cells = [[model.size_bytes, 1, 1e-6], [model.figures.num_params, 1, 1e-6], [model.figures.wer, 2, 100], [model.figures.speedup, 1]];
    const row = make("tr", "", make("th", "", make("label", "", box, ` ${model.name}`)), make("td", "", model.role),
      ...cells.map((cell) => make("td", "number", number(...cell))));
    find("models").tBodies[0].append(row);
  }
}

function listWorst(offer, run) {
  for (const item of offer.worst) {
    const card = make("article", "", make("h3", "", item.id), make("p", "legend", `${item.run}, ${item.split}`));
    card.append(make("p", "", `reference: ${item.reference}`));
    for (const [name, text] of Object.entries(item.hypotheses)) card.append(make("p", "", `${name}: ${text}`));
    if (item.audio) {
      const sound = make("audio");
      sound.controls = true;
      sound.preload = "none";
      sound.src = item.audio;
      const button = make("button", "", "Compare");
      button.type = "button";
      button.addEventListener("click", async () => {
        take(await (await fetch(item.audio)).blob(), item.reference, item.id);
        await run();
        find("comparison").scrollIntoView();
      });
      card.append(sound, make("p", "", button));
    }
    find("utterances").append(card);
  }
  find("worst").hidden = !offer.worst.length;
}

function listenToMicrophone() {
  const button = find("record");
  let microphone = null;
  button.addEventListener("click", async () => {
    try {
      if (microphone) {
        const stopped = microphone;
        microphone = null;
        button.textContent = "Record";
        button.setAttribute("aria-pressed", "false");
        take(await stopped.stop(), "", "Recorded.");
        return;
      }
      const started = new Microphone();
      await started.start();
      microphone = started;
      button.textContent = "Stop";
      button.setAttribute("aria-pressed", "true");
      show("Recording …");
    } catch (error) {
      show(`No microphone: ${error.message}`);
    }
  });
}

async function begin() {
  const offer = await (await fetch("api/offer")).json();
  const run = () => compare(offer);
  listModels(offer);
  listWorst(offer, run);
  listenToMicrophone();
  find("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) take(file, "", file.name);
  });
  find("compare").addEventListener("click", run);
}

begin();
