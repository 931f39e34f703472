"""The official OpenAI client, unchanged: only the base url is ours, and two headers say who is calling. Needs a gateway: `fw up`."""

import os

from openai import OpenAI

url = os.environ.get("FW_URL", "http://127.0.0.1:8400")
client = OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("FW_API_KEY", "any"))

raw = client.chat.completions.with_raw_response.create(
    model="auto",
    messages=[{"role": "user", "content": "What is the capital of France?"}],
    max_tokens=20,
    extra_headers={"x-fw-agent": "support", "x-fw-step": "reply"},
)
answer = raw.parse()
print(answer.choices[0].message.content)
print(
    f"{raw.headers['x-fw-model']} for {raw.headers.get('x-fw-cost', 'unknown')} USD; decision {raw.headers['x-fw-decision-id']}"
)

for chunk in client.chat.completions.create(
    model="support/reply",  # agent and step in the name: no header needed
    messages=[{"role": "user", "content": "Count to five."}],
    max_tokens=20,
    stream=True,
    stream_options={"include_usage": True},
):
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="")
    elif chunk.usage:
        print(f"\n{chunk.usage.total_tokens} tokens")
