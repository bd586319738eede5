// OpenAI's own SDK against the demo: what its users call, and what they catch.

import assert from "node:assert/strict";
import OpenAI from "openai";

const { WEIR_URL, WEIR_KEY_FREE, WEIR_KEY_PAYG, WEIR_KEY_EMPTY } = process.env;
const messages = [{ role: "user", content: "Hello!" }];

function client(apiKey, maxRetries = 0, statuses = []) {
  const watched = async (url, init) => {
    const response = await fetch(url, init);
    statuses.push(response.status);
    return response;
  };
  return new OpenAI({ apiKey, baseURL: `${WEIR_URL}/v1`, maxRetries, fetch: watched });
}

const chat = (api, more = {}) =>
  api.chat.completions.create({ model: "llama-3-8b", max_tokens: 5, messages, ...more });

async function caught(kind, call) {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof kind, `${error.constructor.name}: ${error}`);
    return error;
  }
  assert.fail(`no ${kind.name}`);
}

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const payg = client(WEIR_KEY_PAYG);

const answer = await chat(payg);
assert.ok(answer.choices[0].message.content);
assert.equal(answer.usage.completion_tokens, 5);
console.log("ok chat");

let chunks = await all(await chat(payg, { stream: true }));
assert.ok(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""));
assert.ok(chunks.every((chunk) => !chunk.usage), "a usage chunk that nobody asked for");
console.log("ok stream");

chunks = await all(await chat(payg, { stream: true, stream_options: { include_usage: true } }));
assert.deepEqual(chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.usage.completion_tokens), [5]);
assert.deepEqual(chunks.at(-1).choices, []);
console.log("ok stream with usage");

const raw = await chat(payg).asResponse();
assert.ok(Number(raw.headers.get("x-weir-charge")) > 0 && raw.headers.get("x-request-id"));
console.log("ok headers");

let error = await caught(OpenAI.AuthenticationError, () => chat(client("weir_w_none")));
assert.deepEqual([error.status, error.code], [401, "invalid_key"]);
assert.match(error.message, /key/);
console.log("ok 401");

let statuses = [];
error = await caught(OpenAI.APIError, () => chat(client(WEIR_KEY_EMPTY, 3, statuses)));
assert.deepEqual([error.status, error.code, error.type], [402, "insufficient_credits", "insufficient_quota"]);
assert.match(error.message, /is missing/);
assert.deepEqual(statuses, [402]);
console.log("ok 402");

error = await caught(OpenAI.NotFoundError, () => payg.chat.completions.create({ model: "no-such", messages }));
assert.deepEqual([error.code, error.param], ["model_not_found", "model"]);
console.log("ok 404");

statuses = [];
const free = client(WEIR_KEY_FREE, 3, statuses);
for (let call = 0; call < 50; call += 1) await chat(free);
error = await caught(OpenAI.RateLimitError, () => chat(free));
assert.deepEqual([error.status, error.code, error.type], [429, "rate_limit_exceeded", "rate_limit_error"]);
assert.match(error.message, /The limit `ai` of 50 requests per hour is used up/);
const wait = Number(error.headers.get("retry-after"));
assert.ok(wait > 3_500 && wait <= 3_600, `${wait}`);
// The wait is an hour: a client that retried by itself would only do harm.
assert.deepEqual(statuses, [...Array(50).fill(200), 429]);
console.log("ok 429");
