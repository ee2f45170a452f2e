// The worker beside the page: a question, and a promise of its answer.

const OLD = "this browser cannot run the page; take a newer Chrome, Edge, Firefox or Safari";

/** Start the worker and return `ask(kind, words, given)`; `begin` is called once it is there, or with an error. */
export function connect(begin, busy) {
  const worker = new Worker("worker.js", { type: "module" });
  const waiting = new Map();
  let asked = 0;
  worker.onmessage = ({ data: { ready, id, answer, refused, error } }) => {
    if (ready) return begin();
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    busy(waiting.size > 0);
    if (error === undefined) resolve(answer);
    else reject(new Error(refused ? error : `this browser failed: ${error}`));
  };
  worker.onerror = () => begin(new Error(OLD));
  return (kind, words, given = []) =>
    new Promise((resolve, reject) => {
      waiting.set(++asked, { resolve, reject });
      worker.postMessage({ id: asked, kind, ...words }, given);
      busy(true);
    });
}
