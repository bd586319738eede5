"""OpenAI's own SDK against the demo: what its users call, and what they catch."""

import os

import openai

URL = os.environ["WEIR_URL"] + "/v1"
HELLO = [{"role": "user", "content": "Hello!"}]


def client(key, retries=0, statuses=None):
    statuses = [] if statuses is None else statuses
    hooks = {"response": [lambda response: statuses.append(response.status_code)]}
    watched = openai.DefaultHttpxClient(event_hooks=hooks)
    return openai.OpenAI(api_key=key, base_url=URL, max_retries=retries, http_client=watched)


def chat(api, **more):
    return api.chat.completions.create(model="llama-3-8b", max_tokens=5, messages=HELLO, **more)


def caught(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def same(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


payg = client(os.environ["WEIR_KEY_PAYG"])

answer = chat(payg)
assert answer.choices[0].message.content
same(answer.usage.completion_tokens, 5)
print("ok chat")

chunks = list(chat(payg, stream=True))
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
assert all(chunk.usage is None for chunk in chunks), "a usage chunk that nobody asked for"
print("ok stream")

chunks = list(chat(payg, stream=True, stream_options={"include_usage": True}))
same([chunk.usage.completion_tokens for chunk in chunks if chunk.usage], [5])
same(chunks[-1].choices, [])
print("ok stream with usage")

raw = payg.chat.completions.with_raw_response.create(model="llama-3-8b", max_tokens=5, messages=HELLO)
assert float(raw.headers["x-weir-charge"]) > 0 and raw.headers["x-request-id"]
print("ok headers")

error = caught(openai.AuthenticationError, lambda: chat(client("weir_w_none")))
same((error.status_code, error.code), (401, "invalid_key"))
assert "key" in str(error), error
print("ok 401")

statuses = []
error = caught(openai.APIStatusError, lambda: chat(client(os.environ["WEIR_KEY_EMPTY"], 3, statuses)))
same((error.status_code, error.code, error.type), (402, "insufficient_credits", "insufficient_quota"))
assert "is missing" in error.message, error
same(statuses, [402])
print("ok 402")

error = caught(openai.NotFoundError, lambda: payg.chat.completions.create(model="no-such", messages=HELLO))
same((error.code, error.param), ("model_not_found", "model"))
print("ok 404")

statuses = []
free = client(os.environ["WEIR_KEY_FREE"], 3, statuses)
for _ in range(50):
    chat(free)
error = caught(openai.RateLimitError, lambda: chat(free))
same((error.status_code, error.code, error.type), (429, "rate_limit_exceeded", "rate_limit_error"))
assert "The limit `ai` of 50 requests per hour is used up" in error.message, error
assert 3_500 < int(error.response.headers["retry-after"]) <= 3_600
# The wait is an hour: a client that retried by itself would only do harm.
same(statuses, [200] * 50 + [429])
print("ok 429")
