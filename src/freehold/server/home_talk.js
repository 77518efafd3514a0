const form = document.getElementById("ask"), question = document.getElementById("question"), talk = document.getElementById("talk");
const button = form.querySelector("button");
let thread;

function line(kind) {
  const element = document.createElement("div");
  element.className = kind;
  talk.append(element);
  return element;
}

async function* happenings(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\r\n\r\n");
    rest = frames.pop();
    for (const frame of frames) {
      const found = /^event: (.*)\r\ndata: (.*)/.exec(frame);
      if (found) yield [found[1], JSON.parse(found[2])];
    }
  }
}

async function ask(message) {
  const response = await fetch("chat", { method: "POST", body: JSON.stringify({ message, thread_id: thread, stream: true }) });
  if (!response.ok) throw new Error((await response.json()).detail);
  let answer = line("answer");
  for await (const [name, data] of happenings(response)) {
    if (name === "token") answer.textContent += data.text;
    else if (name === "tool_call") { line("tool").textContent = `→ ${data.name}(${JSON.stringify(data.args)})`; answer = line("answer"); }
    else if (name === "restart") answer.textContent = "";
    else if (name === "done") { thread = data.thread_id; answer.textContent = data.response; }
    else if (name === "error") throw new Error(data.message);
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const message = question.value;
  line("said").textContent = message;
  question.value = "";
  button.disabled = true;
  try { await ask(message); } catch (error) { line("bad").textContent = error.message; }
  button.disabled = false;
  question.focus();
});
