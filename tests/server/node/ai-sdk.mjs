// The npm packages `ai` and `@ai-sdk/openai-compatible`: loops over tools, streamed and not, and an
// answer in a shape. Prints what it saw as one JSON object.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const provider = createOpenAICompatible({
  name: "palaver",
  baseURL: process.argv[2],
  apiKey: "none",
  supportsStructuredOutputs: true,
  includeUsage: true,
});
const model = provider("default");
const tools = {
  weather: tool({
    description: "Weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `rain in ${city}`,
  }),
};
const asked = { model, tools, stopWhen: stepCountIs(5), maxRetries: 0 };
const seen = {};

const whole = await generateText({ ...asked, system: "Be short.", prompt: "Oslo?" });
seen.text = whole.text;
seen.steps = whole.steps.map((step) => step.finishReason);
seen.results = whole.steps.flatMap((step) => step.toolResults.map((result) => result.output));

const stream = streamText({ ...asked, prompt: "Oslo?" });
const kinds = new Set();
seen.reasoning = "";
for await (const part of stream.fullStream) {
  kinds.add(part.type);
  if (part.type === "reasoning-delta") seen.reasoning += part.text;
}
seen.kinds = [...kinds];
seen.streamed = await stream.text;
seen.tokens = (await stream.totalUsage).totalTokens;

const { object } = await generateObject({
  model,
  schema: z.object({ name: z.string() }),
  prompt: "Oslo?",
  maxRetries: 0,
});
seen.object = object;

console.log(JSON.stringify(seen));
