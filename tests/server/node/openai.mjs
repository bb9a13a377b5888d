// The npm package `openai`: models, a loop over tools, streams, and a response in the background
// whose stream is dropped and read on. Prints what it saw as one JSON object.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const model = "default";
const parameters = { type: "object", properties: { city: { type: "string" } } };
const seen = {};

seen.models = (await client.models.list()).data.map((each) => each.id);

const runner = client.chat.completions.runTools({
  model,
  messages: [{ role: "user", content: "Oslo?" }],
  tools: [
    {
      type: "function",
      function: {
        name: "weather",
        description: "Weather in a city.",
        parameters,
        parse: JSON.parse,
        function: async ({ city }) => `rain in ${city}`,
      },
    },
  ],
});
seen.chat = await runner.finalContent();

const chunks = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "stream" }],
  stream: true,
  stream_options: { include_usage: true },
});
seen.streamed = "";
for await (const chunk of chunks) {
  seen.streamed += chunk.choices[0]?.delta?.content ?? "";
  seen.usage = chunk.usage ?? seen.usage;
}

try {
  await client.chat.completions.create({ model: "no such model", messages: [] });
} catch (error) {
  seen.error = { status: error.status, type: error.type, name: error.constructor.name };
}

const tools = [{ type: "function", name: "weather", parameters, strict: false }];
const first = await client.responses.create({ model, input: "Oslo?", tools });
const call = first.output.find((item) => item.type === "function_call");
const second = await client.responses.create({
  model,
  tools,
  previous_response_id: first.id,
  input: [{ type: "function_call_output", call_id: call.call_id, output: "rain" }],
});
seen.responses = second.output_text;

const background = await client.responses.create({
  model,
  input: "long",
  background: true,
  stream: true,
});
const numbers = [];
let id;
seen.resumed = "";
for await (const event of background) {
  numbers.push(event.sequence_number);
  id ??= event.response?.id;
  if (event.type === "response.output_text.delta") {
    seen.resumed += event.delta;
    break;
  }
}
const rest = await client.responses.retrieve(id, {
  stream: true,
  starting_after: numbers.at(-1),
});
for await (const event of rest) {
  numbers.push(event.sequence_number);
  if (event.type === "response.output_text.delta") seen.resumed += event.delta;
  seen.end = event.type;
}
seen.contiguous = numbers.every((number, index) => number === index);
seen.cancelled = (await client.responses.cancel(id)).status;

console.log(JSON.stringify(seen));
