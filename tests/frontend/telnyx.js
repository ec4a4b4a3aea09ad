// Telnyx's own SDK: sends, retrieves, is refused and throttled, and checks webhooks; says what it sees.
//
//   TELNYX_BASE_URL=http://…/v2 TELNYX_API_KEY=… TELNYX_PUBLIC_KEY=… node telnyx.js
//
// Disconnects when standard input ends.

const { createServer } = require("node:http");
const { Telnyx, APIError } = require("telnyx");
const { say } = require("./saying");

const FROM = "+12025550100";
const client = new Telnyx({ maxRetries: 0 });

const server = createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray()).toString();
  try {
    say("webhook", await client.webhooks.unwrap(body, { headers: request.headers }));
    response.end();
  } catch (error) {
    say("unverified", String(error));
    response.writeHead(401).end();
  }
});

const message = (to, more) => ({ from: FROM, to, text: "Service at ten", ...more });

async function refused(what, request) {
  try {
    say("accepted", { what, answer: await request });
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const { name } = error.constructor;
    say("refused", { what, name, status: error.status, errors: error.error?.errors });
  }
}

async function main() {
  const webhook_url = `http://127.0.0.1:${server.address().port}/webhooks`;
  const more = { webhook_url, use_profile_webhooks: false };
  const sent = await client.messages.send(message("+12025550101", more));
  say("sent", sent);
  say("retrieved", await client.messages.retrieve(sent.data.id));
  await refused("stop", client.messages.send(message("+12025550102")));
  await refused("number", client.messages.send(message("2025550101")));
  await refused("unknown", client.messages.retrieve("00000000-0000-4000-8000-000000000000"));
  await refused("key", new Telnyx({ apiKey: "OTHER", maxRetries: 0 }).messages.send(message("+12025550101")));
  await refused("throttled", client.messages.send(message("+12025550107")));
  const patient = await new Telnyx({ maxRetries: 2 }).messages.send(message("+12025550107"));
  say("patient", patient);
}

process.stdin.on("end", () => process.exit(0)).resume();
server.listen(0, "127.0.0.1", () => void main());
