// Runs replies.ts of docs/frontend.md on a socket that resumes. Prints what its socket receives and what it shows.
//
//   API=… GATEWAY=… TOKENS=… node listing.js
//
// Disconnects when standard input ends.

const { readFileSync } = require("node:fs");
const { io } = require("socket.io-client");
const ts = require("typescript");
const { freshToken, gateway } = require("./session");
const { say } = require("./saying");

require.extensions[".ts"] = (module, file) => {
  const compilerOptions = { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 };
  module._compile(ts.transpileModule(readFileSync(file, "utf8"), { compilerOptions }).outputText, file);
};
const { replies } = require("./replies");

let cursor;
const socket = io(gateway, {
  transports: ["websocket"],
  auth: async (send) => send({ token: await freshToken(), cursor }),
});
socket.onAny((name, event) => {
  if (event?.cursor) cursor = event.cursor;
  say(name, event);
});
replies(socket, (newestFirst) => say("shown", newestFirst));
process.stdin.on("end", () => socket.disconnect()).resume();
