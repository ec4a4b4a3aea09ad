// Runs connect.js of docs/protocol.md unchanged and prints what its socket receives.
//
//   GATEWAY=… TOKENS=… [OPTIONS={"transports":["polling"]}] node connecting.js
//
// Disconnects when standard input ends.

const { readFileSync } = require("node:fs");
const { io } = require("socket.io-client");
const { freshToken, gateway, signIn } = require("./session");
const { say } = require("./saying");

const code = readFileSync(`${__dirname}/connect.js`, "utf8");
const connect = new Function("io", "freshToken", "reloadHistory", "signIn", `${code}\nreturn socket`);

const other = JSON.parse(process.env.OPTIONS ?? "{}");
const here = (_, options) => io(gateway, { ...options, ...other });
const reloadHistory = async () => say("reload");
const socket = connect(here, freshToken, reloadHistory, signIn);

socket.on("disconnect", (reason) => say("disconnect", { reason }));
socket.on("connect_error", ({ message, description }) => {
  const status = typeof description === "number" ? description : null;
  say("connect_error", { message, status, retries: socket.active });
});
socket.onAny(say);
process.stdin.on("end", () => socket.disconnect()).resume();
