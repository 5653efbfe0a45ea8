// What the Node clients share: they print one JSON object a line.

const RATE = 24000;

export function tell(fact) {
  console.log(JSON.stringify(fact));
}

/** A tone, which the server's scripted ear takes for speech, and silence; int16 in chunks of 100 ms. */
export function speech(seconds, silence = 0) {
  const samples = new Int16Array(Math.round((seconds + silence) * RATE));
  for (let n = 0; n < seconds * RATE; n++) samples[n] = Math.round(12000 * Math.sin((2 * Math.PI * 220 * n) / RATE));
  const chunks = [];
  for (let n = 0; n < samples.length; n += RATE / 10) chunks.push(samples.slice(n, n + RATE / 10));
  return chunks;
}

export const base64 = (chunk) => Buffer.from(chunk.buffer).toString('base64');

export const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

/** Events in the order in which they came, to be waited for one after the other. */
export class Inbox {
  #events = [];
  #wake = () => {};

  put(name, event) {
    this.#events.push([name, event]);
    this.#wake();
  }

  async until(last, seconds = 20) {
    const late = setTimeout(() => {
      console.error(`no ${last} within ${seconds} s`);
      process.exit(1);
    }, seconds * 1000);
    for (;;) {
      while (this.#events.length) {
        const [name, event] = this.#events.shift();
        if (!name.endsWith('.delta')) tell({ event: name });
        if (name === last) {
          clearTimeout(late);
          return event;
        }
      }
      await new Promise((wake) => (this.#wake = wake));
    }
  }
}

for (const fault of ['uncaughtException', 'unhandledRejection']) {
  process.on(fault, (error) => {
    console.error(fault, error);
    process.exit(1);
  });
}
