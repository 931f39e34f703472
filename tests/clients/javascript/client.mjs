// The official JavaScript client of OpenAI, unmodified: what a test asks for on the command line, as JSON on standard output.
import OpenAI from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Hi" }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { type: "function", function: { name: "weather", parameters } };
const found = {};

const answer = await client.chat.completions.create({ model, messages });
found.chat = [answer.choices[0].message.content, answer.usage.total_tokens];

let words = "";
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
  words += chunk.choices[0]?.delta?.content ?? "";
}
found.stream = words;

const asked = [{ role: "user", content: "weather in Oslo and Rome" }];
const called = await client.chat.completions.stream({ model, messages: asked, tools: [weather] }).finalChatCompletion();
found.tools = called.choices[0].message.tool_calls.map((call) => [call.id, JSON.parse(call.function.arguments).city]);

const response = await client.responses.create({ model, input: "Hi" });
found.response = response.output_text;

const kinds = [];
for await (const event of await client.responses.create({ model, input: "Hi", stream: true })) kinds.push(event.type);
found.events = [kinds[0], kinds.at(-1)];

try {
  await client.chat.completions.create({ model, messages: [{ role: "user", content: "REFUSE 429" }] });
} catch (error) {
  found.refusal = [error.constructor.name, error.status];
}
try {
  const broken = await client.chat.completions.create({ model, messages: [{ role: "user", content: "BREAK" }], stream: true });
  for await (const chunk of broken) void chunk;
} catch (error) {
  found.broken = error.constructor.name;
}
console.log(JSON.stringify(found));
