// OpenAI's own SDK waits as long as it is told, and then passes.

import assert from "node:assert/strict";
import OpenAI from "openai";

const { WEIR_URL, WEIR_KEY } = process.env;
const seen = [];
const api = new OpenAI({
  apiKey: WEIR_KEY,
  baseURL: `${WEIR_URL}/v1`,
  maxRetries: 3,
  fetch: async (url, init) => {
    const begun = performance.now();
    const response = await fetch(url, init);
    seen.push({ begun, at: performance.now(), response });
    return response;
  },
});
for (let call = 0; call < 2; call += 1) {
  await api.chat.completions.create({
    model: "m",
    max_tokens: 5,
    messages: [{ role: "user", content: "Hello!" }],
  });
}
assert.deepEqual(seen.map(({ response }) => response.status), [200, 429, 200]);
const told = Number(seen[1].response.headers.get("retry-after-ms"));
const waited = seen[2].begun - seen[1].at;
// Timers of this runtime may fire a millisecond early.
assert.ok(waited + 2 >= told, `told to wait ${told} ms, waited ${waited} ms`);
console.log("ok retry");
