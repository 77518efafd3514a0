// The official JavaScript client against our server. Run by tests/api/test_js_sdk.py, which sets SERVER_URL and SDK.
import assert from "node:assert/strict";
import { test } from "node:test";

const { Client } = await import(process.env.SDK);
const client = new Client({ apiUrl: process.env.SERVER_URL, apiKey: null });

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

async function newThread() {
  return (await client.threads.create()).thread_id;
}

const data = (parts, event) => parts.filter((part) => part.event === event).map((part) => part.data);

test("assistants are found by graph, with graph and schemas", async () => {
  const found = await client.assistants.search({ graphId: "echo", metadata: { created_by: "system" } });
  assert.equal(found.length, 1);
  const assistant = await client.assistants.get(found[0].assistant_id);
  assert.equal(assistant.graph_id, "echo");
  const graph = await client.assistants.getGraph(assistant.assistant_id);
  assert.ok(graph.nodes.some((node) => node.id === "first"));
  const schemas = await client.assistants.getSchemas("talker");
  assert.ok(schemas.input_schema.properties.messages);
});

test("a thread is created, found, changed and deleted", async () => {
  const metadata = { suite: `js-${Date.now()}-${Math.random()}` };
  const thread = await client.threads.create({ metadata });
  assert.equal(thread.status, "idle");
  assert.deepEqual((await client.threads.search({ metadata })).map((t) => t.thread_id), [thread.thread_id]);
  await client.threads.update(thread.thread_id, { metadata: { more: 1 } });
  assert.deepEqual((await client.threads.get(thread.thread_id)).metadata, { ...metadata, more: 1 });
  await client.threads.delete(thread.thread_id);
  await assert.rejects(client.threads.get(thread.thread_id), /404/);
});

test("wait gives the final values, and the thread keeps them", async () => {
  const thread = await newThread();
  const values = await client.runs.wait(thread, "echo", { input: { text: "hi" } });
  assert.deepEqual(values, { text: "hi", log: ["first:hi:plain", "second:hi"] });
  const state = await client.threads.getState(thread);
  assert.deepEqual(state.values, values);
  assert.deepEqual(state.next, []);
  const history = await client.threads.getHistory(thread);
  assert.equal(history.length, 4);
});

test("stream gives metadata first, then values; the run is known before the first event", async () => {
  const thread = await newThread();
  let created;
  const parts = await collect(
    client.runs.stream(thread, "echo", { input: { text: "a" }, streamMode: "values", onRunCreated: (run) => (created = run) }),
  );
  assert.equal(parts[0].event, "metadata");
  assert.equal(created.run_id, parts[0].data.run_id);
  assert.equal(created.thread_id, thread);
  assert.deepEqual(data(parts, "values").at(-1), { text: "a", log: ["first:a:plain", "second:a"] });
});

test("several modes stream together", async () => {
  const parts = await collect(client.runs.stream(await newThread(), "slow", { input: { text: "3" }, streamMode: ["custom", "updates"] }));
  assert.deepEqual(data(parts, "custom"), [{ number: 0 }, { number: 1 }, { number: 2 }]);
  assert.deepEqual(data(parts, "updates"), [{ count: { log: ["counted"] } }]);
});

test("messages-tuple streams the answer in pieces that join to it", async () => {
  const input = { messages: [{ role: "user", content: "one two three four" }] };
  const parts = await collect(client.runs.stream(await newThread(), "talker", { input, streamMode: "messages-tuple" }));
  const pieces = data(parts, "messages").filter(([message]) => message.type === "AIMessageChunk");
  assert.ok(pieces.length > 1);
  assert.equal(pieces.map(([message]) => message.content).join(""), "one two three four");
  assert.ok(pieces.every(([, metadata]) => metadata.langgraph_node === "talk"));
  assert.equal(new Set(pieces.map(([message]) => message.id)).size, 1);
});

test("a tool call and its result are in the thread", async () => {
  const thread = await newThread();
  const values = await client.runs.wait(thread, "talker", { input: { messages: [{ role: "user", content: "calculate" }] } });
  assert.deepEqual(values.messages.map((message) => message.type), ["human", "ai", "tool", "ai"]);
  assert.equal(values.messages[1].tool_calls[0].args.expression, "42 * 17");
});

test("a broken-off stream is joined again without gap or duplicate", async () => {
  const thread = await newThread();
  const run = await client.runs.create(thread, "slow", { input: { text: "60" }, streamMode: ["custom"], streamResumable: true });
  const numbers = [];
  let last = "-1";
  for (let attempt = 0; attempt < 20 && numbers.length < 60; attempt++) {
    let seen = 0;
    for await (const part of client.runs.joinStream(thread, run.run_id, { streamMode: ["custom"], lastEventId: last })) {
      last = part.id ?? last;
      if (part.event !== "custom") continue;
      numbers.push(part.data.number);
      if (++seen === 7) break;
    }
  }
  assert.deepEqual(numbers, Array.from({ length: 60 }, (_, number) => number));
});

test("a run in the background is joined, and listed", async () => {
  const thread = await newThread();
  const run = await client.runs.create(thread, "echo", { input: { text: "later" } });
  assert.deepEqual((await client.runs.join(thread, run.run_id)).log, ["first:later:plain", "second:later"]);
  assert.equal((await client.runs.get(thread, run.run_id)).status, "success");
  assert.deepEqual((await client.runs.list(thread)).map((r) => r.run_id), [run.run_id]);
});

test("a run that would never end is cancelled", async () => {
  const thread = await newThread();
  const run = await client.runs.create(thread, "waits", { input: { text: "x" } });
  await client.runs.cancel(thread, run.run_id, true);
  assert.equal((await client.runs.get(thread, run.run_id)).status, "interrupted");
  const after = await client.runs.wait(thread, "echo", { input: { text: "y" } });
  assert.ok(after.log.includes("second:y"), "the thread is not usable after a cancelled run");
});

test("an interrupt is seen in the state and resumed with an answer", async () => {
  const thread = await newThread();
  await client.runs.wait(thread, "asks", { input: { text: "x" } });
  assert.equal((await client.threads.get(thread)).status, "interrupted");
  const state = await client.threads.getState(thread);
  assert.deepEqual(state.next, ["ask"]);
  assert.deepEqual(state.tasks[0].interrupts[0].value, { question: "Which colour?" });
  const values = await client.runs.wait(thread, "asks", { command: { resume: "blue" } });
  assert.deepEqual(values.log, ["answer:blue"]);
});

test("a graph that fails says so in the stream and to wait", async () => {
  const parts = await collect(client.runs.stream(await newThread(), "fails", { input: { text: "x" } }));
  assert.match(JSON.stringify(data(parts, "error")), /the graph failed on purpose/);
  await assert.rejects(client.runs.wait(await newThread(), "fails", { input: { text: "x" } }), /the graph failed on purpose/);
});

test("without a thread, runs leave nothing behind", async () => {
  const values = await client.runs.wait(null, "echo", { input: { text: "s" } });
  assert.deepEqual(values.log, ["first:s:plain", "second:s"]);
  const parts = await collect(client.runs.stream(null, "echo", { input: { text: "s" }, streamMode: "updates" }));
  assert.equal(data(parts, "updates").length, 2);
});

test("an unknown assistant is an error that says so", async () => {
  await assert.rejects(client.runs.wait(await newThread(), "nobody", { input: {} }), /404|422/);
});

test("a cron is made, found, changed and deleted", async () => {
  const thread = await newThread();
  const cron = await client.crons.createForThread(thread, "echo", { schedule: "0 9 * * *", input: { text: "a" } });
  assert.deepEqual([cron.thread_id, cron.schedule], [thread, "0 9 * * *"]);
  const found = async () => (await client.crons.search({ threadId: thread })).map((one) => one.cron_id);
  assert.deepEqual(await found(), [cron.cron_id]);
  if (client.crons.update) { // since 1.6
    const changed = await client.crons.update(cron.cron_id, { schedule: "0 10 * * *", enabled: false });
    assert.deepEqual([changed.schedule, changed.enabled], ["0 10 * * *", false]);
  }
  if (client.crons.count) assert.equal(await client.crons.count({ threadId: thread }), 1);
  await client.crons.delete(cron.cron_id);
  assert.deepEqual(await found(), []);
});

test("items of the store are kept, found, listed and deleted", async () => {
  const root = `js-${Date.now()}-${Math.random()}`.replaceAll(".", "-");
  await client.store.putItem([root, "a"], "key", { kind: "note", score: 3 }, { ttl: 60 });
  await client.store.putItem([root, "b"], "key", { kind: "task", score: 5 }, { index: false });
  const item = await client.store.getItem([root, "a"], "key", { refreshTtl: true });
  assert.deepEqual([item.namespace, item.value], [[root, "a"], { kind: "note", score: 3 }]);
  const found = await client.store.searchItems([root], { filter: { score: { $gt: 3 } }, limit: 5, refreshTtl: false });
  assert.deepEqual(found.items.map((one) => one.value.kind), ["task"]);
  const listed = await client.store.listNamespaces({ prefix: [root], maxDepth: 2 });
  assert.deepEqual(listed.namespaces, [[root, "a"], [root, "b"]]);
  await client.store.deleteItem([root, "a"], "key");
  assert.equal((await client.store.searchItems([root])).items.length, 1);
});
