// From a folder and a file of float32 samples with their counts, the texts of transformers.js as JSON.
import fs from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, waves, counts] = process.argv.slice(2);
const require = createRequire(`${process.cwd()}/`);
const { env, pipeline } = await import(pathToFileURL(require.resolve("@huggingface/transformers")).href);
env.allowRemoteModels = false;
env.localModelPath = "";
const recognize = await pipeline("automatic-speech-recognition", folder, { session_options: { intraOpNumThreads: 1 } });
const bytes = fs.readFileSync(waves);
const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const texts = [];
let place = 0, seconds = 0;
for (const count of JSON.parse(counts)) {
  const start = process.cpuUsage();
  texts.push((await recognize(samples.slice(place, place + count))).text);
  const used = process.cpuUsage(start);
  seconds += (used.user + used.system) / 1e6;
  place += count;
}
console.log(JSON.stringify({ texts, seconds, version: env.version, bytes: process.resourceUsage().maxRSS * 1024 }));
