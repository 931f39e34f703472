// Vercel's AI SDK, unmodified, in each of its protocols: what a test asks for on the command line, as JSON on standard output.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, Output, streamText, tool } from "ai";

const [baseURL, apiKey, name] = process.argv.slice(2);
const openai = createOpenAI({ baseURL, apiKey });
const models = { chat: openai.chat(name), responses: openai.responses(name), messages: createAnthropic({ baseURL, apiKey })(name) };
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const described = { city: { type: "string" }, people: { type: "integer" } };
const town = { type: "object", properties: described, required: ["city", "people"], additionalProperties: false };
const weather = tool({ description: "The weather.", inputSchema: jsonSchema(parameters) });
const asked = "weather in Oslo and Rome";
const maxRetries = 0;
// The SDK knows by the names of Anthropic's models which of them can do this; it calls a tool for all others.
const providerOptions = { anthropic: { structuredOutputMode: "outputFormat" } };
const cities = (calls) => calls.map((call) => [call.toolCallId, call.input.city]);

async function streamed(options) {
  const faults = [];
  const stream = streamText({ maxRetries, onError: ({ error }) => faults.push(error), ...options });
  let words = "";
  for await (const word of stream.textStream) words += word;
  return { words, faults, stream };
}

async function worked(model) {
  const found = {};
  const answer = await generateText({ model, maxRetries, prompt: "Hi" });
  found.text = [answer.text, answer.finishReason, answer.usage.totalTokens];
  const whole = await streamed({ model, prompt: "Hi" });
  found.stream = [whole.words, await whole.stream.finishReason, (await whole.stream.usage).totalTokens];
  const called = await generateText({ model, maxRetries, prompt: asked, tools: { weather } });
  found.tools = cities(called.toolCalls);
  const calling = await streamed({ model, prompt: asked, tools: { weather } });
  found.streamed_tools = cities(await calling.stream.toolCalls);
  const output = Output.object({ schema: jsonSchema(town) });
  const shaped = await generateText({ model, maxRetries, prompt: "Where?", output, providerOptions }).catch((error) => ({ failed: error }));
  found.object = shaped.failed ? shaped.failed.name : shaped.output;
  const refused = await generateText({ model, maxRetries, prompt: "REFUSE 429" }).catch((error) => error);
  found.refusal = [refused.name, refused.statusCode];
  found.broken = (await streamed({ model, prompt: "BREAK" })).faults.length;
  return found;
}

const found = {};
for (const [protocol, model] of Object.entries(models)) {
  found[protocol] = await worked(model).catch((error) => ({ failed: String(error) }));
}
console.log(JSON.stringify(found));
