// Watches a church's events with the stock Socket.IO client.
//
//   TOKEN=… node watch.mjs http://127.0.0.1:8082 [--json] [--cursor CURSOR] [--transports websocket,polling]
//                [--token-in auth|query|header|nothing] [--refresh] [--delay MILLISECONDS] [--sockets N] [--try-all]
//                [--until-eof]
//
// Prints each event; with --json, one line each: {"at": milliseconds since 1970, "event": name, "data": payload}. With
// several sockets, a line also has "socket", the number of the socket that got it, from 0. The client's own events are
// printed as open, upgrade, connect, disconnect and connect_error.
//
// It reconnects with the newest cursor, so that it misses nothing. --delay is the stock client's wait before that (1000).
// TOKEN may be a list, comma separated: each connection takes the next token, and the last one is used for all further
// ones. With --refresh, an expiring token is replaced by the next one on the open connection, and the answer is printed
// as auth:refreshed. The address may be a list, too: the sockets take turns.
//
// With --try-all, if a transport can't be opened, the next one in the list is tried within the same attempt.
//
// Ends on Ctrl-C; with --until-eof also when its standard input ends.

import { parseArgs } from "node:util";
import { io } from "socket.io-client";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    cursor: { type: "string" },
    transports: { type: "string", default: "websocket,polling" },
    "token-in": { type: "string", default: "auth" },
    refresh: { type: "boolean", default: false },
    delay: { type: "string", default: "1000" },
    sockets: { type: "string", default: "1" },
    "try-all": { type: "boolean", default: false },
    "until-eof": { type: "boolean", default: false },
  },
});
const urls = positionals[0]?.split(",");
const tokens = process.env.TOKEN?.split(",");
const token = tokens?.[0];
const place = {
  auth: { auth: { token } },
  query: { query: { token } },
  header: { extraHeaders: { Authorization: `Bearer ${token}` } },
  nothing: {},
}[options["token-in"]];
if (!urls || !token || !place) {
  console.error("usage: TOKEN=… node watch.mjs URL [--json] [--cursor CURSOR] [--transports LIST]");
  console.error("         [--token-in auth|query|header|nothing] [--refresh] [--delay MILLISECONDS]");
  console.error("         [--sockets N] [--try-all] [--until-eof]");
  process.exit(2);
}

let stopping = false;
const sockets = Array.from({ length: Number(options.sockets) }, (_, number) => watch(number));

function watch(number) {
  let cursor = options.cursor;
  const waiting = [...tokens];
  const nextToken = () => (waiting.length > 1 ? waiting.shift() : waiting[0]);
  const print = (event, data) => show(number, event, data);
  const socket = io(urls[number % urls.length], {
    ...place,
    forceNew: true,
    transports: options.transports.split(","),
    tryAllTransports: options["try-all"],
    reconnectionAttempts: Infinity,
    reconnectionDelay: Number(options.delay),
    auth: (send) => send(place.auth ? { token: nextToken(), cursor } : { cursor }),
  });
  const manager = socket.io;
  manager.on("open", () => {
    const { engine } = manager;
    print("open", { transport: engine.transport.name });
    engine.on("upgrade", ({ name }) => print("upgrade", { transport: name }));
  });
  socket.on("connect", () => print("connect", { id: socket.id }));
  socket.on("disconnect", (reason) => print("disconnect", { reason }));
  socket.on("connect_error", (error) => {
    print("connect_error", { message: error.message });
    // Refused by the server: the stock client does not try again by itself.
    if (!socket.active && !stopping) setTimeout(() => socket.connect(), 1000);
  });
  socket.onAny((event, data) => {
    if (data?.cursor) cursor = data.cursor;
    print(event, data);
  });
  if (options.refresh) {
    socket.on("auth:expiring", () => {
      const refreshed = socket.emitWithAck("auth:refresh", { token: nextToken() });
      // No answer comes over a connection that has ended; the next one takes a token of its own.
      refreshed.then((answer) => print("auth:refreshed", answer)).catch(() => {});
    });
  }
  return socket;
}

function show(number, event, data) {
  const at = performance.timeOrigin + performance.now();
  if (options.json) {
    const socket = sockets.length > 1 ? number : undefined;
    console.log(JSON.stringify({ at, socket, event, data }));
  } else {
    console.log(`${new Date(at).toISOString()}  ${event.padEnd(22)} ${describe(event, data)}`);
  }
}

function describe(event, data) {
  if (!event.startsWith("message:")) return JSON.stringify(data);
  const { messageId, status, version, recipientCount, deliveredCount, failedCount } = data;
  return `${messageId} ${status}, version ${version}, ${deliveredCount} of ${recipientCount} delivered, ${failedCount} failed`;
}

// Says goodbye and ends once that has gone out, or a second later.
function stop() {
  stopping = true;
  sockets.forEach((socket) => socket.close());
  setTimeout(() => process.exit(0), 1000).unref();
}
process.on("SIGINT", stop);
process.on("SIGTERM", stop);
if (options["until-eof"]) process.stdin.on("end", stop).resume();
