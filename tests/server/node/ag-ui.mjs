// The npm package `@ag-ui/client`: a thread that uses tools of the server and of the client, and an
// approval. Prints what it saw as one JSON object.
import { HttpAgent } from "@ag-ui/client";

const agent = new HttpAgent({ url: `${process.argv[2]}/api/ag-ui`, threadId: "trip" });
const colour = {
  name: "colour",
  description: "Change the page's colour.",
  parameters: { type: "object", properties: { to: { type: "string" } } },
};
const seen = { kinds: [] };
const watch = {
  onEvent: ({ event }) => {
    if (seen.kinds.at(-1) !== event.type) seen.kinds.push(event.type);
  },
  onRunFinishedEvent: (finished) => {
    seen.outcome = finished.outcome;
    seen.pending = finished.pendingToolCallIds;
    seen.interrupts = finished.interrupts;
  },
};
const said = () => agent.messages.filter((m) => m.role === "assistant").map((m) => m.content);

agent.addMessage({ id: "u1", role: "user", content: "Make it red, and double 21." });
await agent.runAgent({ runId: "run-1", tools: [colour] }, watch);
seen.results = agent.messages.filter((m) => m.role === "tool").map((m) => m.content);
const call = agent.messages
  .flatMap((m) => m.toolCalls ?? [])
  .find((c) => c.function.name === "colour");
seen.arguments = JSON.parse(call.function.arguments);
agent.addMessage({ id: "t1", role: "tool", toolCallId: call.id, content: "it is red" });
await agent.runAgent({ runId: "run-2", tools: [colour] }, watch);
seen.said = said().at(-1);

agent.addMessage({ id: "u2", role: "user", content: "Send it." });
await agent.runAgent({ runId: "run-3", tools: [colour] }, watch);
seen.reason = seen.interrupts?.[0]?.reason;
const resume = [
  { interruptId: seen.interrupts[0].id, status: "resolved", payload: { approved: true } },
];
await agent.runAgent({ runId: "run-4", tools: [colour], resume }, watch);
seen.sent = said().at(-1);
delete seen.interrupts;
delete seen.pending;

console.log(JSON.stringify(seen));
