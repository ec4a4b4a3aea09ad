// Mounts a hook of docs/frontend.md in a small DOM. Prints what the page shows, what the hook requests, and what its
// socket receives.
//
//   API=… GATEWAY=… TOKENS=… node mounting.mjs HOOK
//
// Its intervals run twenty times as fast as the hook believes. Unmounts it when standard input ends. The process then
// ends by itself, which proves that the hook leaves nothing running.

import { readFileSync, writeFileSync } from "node:fs";
import { Window } from "happy-dom";
import { Socket } from "socket.io-client";
import ts from "typescript";
import { say } from "./saying.js";

const FASTER = 20;

// The module that a TypeScript file becomes. Its neighbours are found by their full names.
async function compiled(name) {
  const at = (file) => new URL(file, import.meta.url);
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  const { outputText } = ts.transpileModule(readFileSync(at(`${name}.ts`), "utf8"), { compilerOptions });
  writeFileSync(at(`${name}.mjs`), outputText.replace(/from "(\.\/\w+)"/g, 'from "$1.js"'));
  return import(at(`${name}.mjs`));
}

// Prints the hook's requests, intervals and socket events.
const { fetch, setInterval } = globalThis;
globalThis.setInterval = (act, after) => setInterval(() => (say("tick"), act()), after / FASTER);
globalThis.fetch = async (url, options) => {
  say("asked", new URL(url).search);
  const answer = await fetch(url, options);
  say("answered", answer.status);
  return answer;
};
const { emit, emitReserved, onevent } = Socket.prototype;
Object.assign(Socket.prototype, {
  emit(name, request, done) {
    return emit.call(this, name, request, (answer) => (say(`${name} answered`, answer), done(answer)));
  },
  emitReserved(name, ...rest) {
    if (name === "disconnect") say(name, { reason: rest[0] });
    return emitReserved.call(this, name, ...rest);
  },
  onevent(packet) {
    say(...packet.data);
    return onevent.call(this, packet);
  },
});

// React reads these while it loads. Newer Nodes have a navigator that can't be assigned.
const window = new Window();
const { document, navigator } = window;
for (const [name, value] of Object.entries({ window, document, navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
process.env.NODE_ENV = "production";
const { createElement, useEffect } = await import("react");
const { createRoot } = await import("react-dom/client");
const { useMessages } = await compiled(process.argv[2]);

function Page() {
  // A MutationObserver of happy-dom holds its listener weakly and falls silent at the next garbage collection.
  useEffect(() => say("shown", lines()));
  return createElement("ul", null, useMessages().map(({ id, status }) => createElement("li", { key: id }, `${id} ${status}`)));
}

const page = document.body.appendChild(document.createElement("main"));
const lines = () => [...page.querySelectorAll("li")].map((line) => line.textContent);
const root = createRoot(page);
root.render(createElement(Page));
process.stdin.on("end", () => root.unmount()).resume();
