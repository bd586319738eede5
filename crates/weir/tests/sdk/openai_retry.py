"""OpenAI's own SDK waits as long as it is told, and then passes."""

import os
import time

import openai

seen = []
hooks = {"response": [lambda response: seen.append((time.monotonic(), response))]}
api = openai.OpenAI(
    api_key=os.environ["WEIR_KEY"],
    base_url=os.environ["WEIR_URL"] + "/v1",
    max_retries=3,
    http_client=openai.DefaultHttpxClient(event_hooks=hooks),
)
for _ in range(2):
    api.chat.completions.create(
        model="m", max_tokens=5, messages=[{"role": "user", "content": "Hello!"}]
    )
statuses = [response.status_code for _, response in seen]
assert statuses == [200, 429, 200], statuses
told = int(seen[1][1].headers["retry-after-ms"]) / 1_000
waited = seen[2][0] - seen[1][0]
assert waited >= told, f"told to wait {told} s, waited {waited} s"
print("ok retry")
