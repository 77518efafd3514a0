// The official JavaScript client's event streaming against our server. Run by tests/api/test_js_sdk.py, which sets SERVER_URL, SDK and TRANSPORT.
import assert from "node:assert/strict";
import { test } from "node:test";

const { Client } = await import(process.env.SDK);
const client = new Client({ apiUrl: process.env.SERVER_URL, apiKey: null });
const transport = process.env.TRANSPORT;

const open = (assistantId, threadId, options = {}) =>
  threadId ? client.threads.stream(threadId, { assistantId, transport, ...options }) : client.threads.stream({ assistantId, transport, ...options });

const said = (content) => ({ messages: [{ role: "user", content }] });

async function until(condition) {
  for (let tries = 0; !condition(); tries++) {
    assert.ok(tries < 400, "it did not happen");
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

test("messages arrive in pieces, and the output at the end", async () => {
  const thread = open("talker");
  const texts = [];
  const reading = (async () => {
    for await (const message of thread.messages) texts.push(await message.text);
  })();
  await thread.run.start({ input: said("one two three") });
  const output = await thread.output;
  await reading;
  assert.deepEqual(texts, ["one two three"]);
  assert.equal(output.messages.length, 2);
  await thread.close();
});

test("an interrupt is told and answered", async () => {
  const thread = open("asks");
  await thread.run.start({ input: { text: "x" } });
  await until(() => thread.interrupts.length === 1);
  const [interrupt] = thread.interrupts;
  assert.deepEqual(interrupt.payload, { question: "Which colour?" });
  await thread.input.respond({ namespace: interrupt.namespace, interrupt_id: interrupt.interruptId, response: "blue" });
  let log;
  for (let tries = 0; tries < 200 && !log?.length; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    log = (await client.threads.getState(thread.threadId)).values.log;
  }
  assert.deepEqual(log, ["answer:blue"]);
  await thread.close();
});

test("a connection that breaks in the middle loses nothing and repeats nothing", async () => {
  let broken = 0;
  const breaking = {
    reconnectDelayMs: () => 50,
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      if (!String(url).endsWith("/stream/events") || !response.ok || broken >= 3) return response;
      broken += 1;
      const reader = response.body.getReader();
      let pieces = 0;
      const body = new ReadableStream({
        async pull(controller) {
          const { done, value } = await reader.read();
          if (done) return controller.close();
          controller.enqueue(value);
          if (++pieces === 6) {
            await reader.cancel();
            controller.error(new TypeError("terminated"));
          }
        },
        cancel: () => reader.cancel(),
      });
      return new Response(body, { status: response.status, headers: response.headers });
    },
    webSocketFactory: (url) => {
      const socket = new WebSocket(url);
      if (broken < 3) {
        broken += 1;
        setTimeout(() => socket.close(), 250);
      }
      return socket;
    },
  };
  const thread = open("slow", undefined, breaking);
  const subscription = thread.subscribe({ channels: ["custom", "lifecycle"] });
  await thread.run.start({ input: { text: "90" } });
  const numbers = [];
  for await (const event of await subscription) {
    if (event.method === "custom") numbers.push(event.params.data.payload.number);
    if (event.method === "lifecycle" && event.params.data.event === "completed") break;
  }
  assert.deepEqual(numbers, Array.from({ length: 90 }, (_, number) => number));
  assert.ok(broken >= 1, "nothing was broken");
  await thread.close();
});

test("a second tab sees the run that the first one started", async () => {
  const one = open("slow");
  await one.run.start({ input: { text: "40" } });
  const other = open("slow", one.threadId);
  const numbers = [];
  for await (const event of await other.subscribe({ channels: ["custom", "lifecycle"] })) {
    if (event.method === "custom") numbers.push(event.params.data.payload.number);
    if (event.method === "lifecycle" && event.params.data.event === "completed") break;
  }
  assert.deepEqual(numbers, Array.from({ length: 40 }, (_, number) => number));
  await one.close();
  await other.close();
});

test("the tree of a run is read", async () => {
  const thread = open("nested");
  const started = await thread.run.start({ input: { text: "x" } });
  assert.ok(started.run_id);
  await thread.output;
  const { tree } = await thread.agent.getTree({ run_id: started.run_id });
  assert.equal(tree.graph_name, "nested");
  assert.equal(tree.children[0].graph_name, "inner");
  await thread.close();
});

test("all runs of a thread are joined as one stream", async () => {
  const { thread_id: threadId } = await client.threads.create();
  const leave = new AbortController();
  const done = [];
  const joining = (async () => {
    for await (const part of client.threads.joinStream(threadId, { streamMode: ["lifecycle"], signal: leave.signal })) {
      if (part.data.status === "run_done") done.push(part.data.run_id);
      if (done.length === 2) return;
    }
  })();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const first = await client.runs.create(threadId, "echo", { input: { text: "a" } });
  const second = await client.runs.create(threadId, "echo", { input: { text: "b" } });
  await joining;
  leave.abort();
  assert.deepEqual(done, [first.run_id, second.run_id]);
});
