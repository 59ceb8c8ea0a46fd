// Sends the samples of a microphone to the page, channels as their mean.
registerProcessor("capture", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) {
      const mean = new Float32Array(channels[0].length);
      for (const channel of channels) channel.forEach((x, i) => { mean[i] += x / channels.length; });
      this.port.postMessage(mean, [mean.buffer]);
    }
    return true;
  }
});
