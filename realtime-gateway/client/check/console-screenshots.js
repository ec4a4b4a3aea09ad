// Makes the pictures of docs/console.md: each view with a morning's data, in light and dark.
//
//   node check/console-screenshots.js ../../docs/images

import { join } from "node:path"
import { BLOCKED, client, DELIVERED, SILENT, startStack, stopClients, until } from "../test/stack.js"
import { launch } from "./browser.js"
import { look, startConsole } from "./console.js"

const folder = process.argv[2]
const READ = "+12025550104"
const CHOIR = ["0101", "0104", "0102", "0101", "0104"].map((end, index) => `+12025${60 + index}${end}`)

const stack = await startStack()
const browser = await launch()
const server = await startConsole(stack, ["--allow-changes"])
try {
  client(stack, { token: async () => stack.token("ann") })
  client(stack, { token: async () => stack.token("ben") })
  await stack.ops("sender", "--church", "hope", "--number", "+12025550190", "--rate", "5")
  const page = await browser.newPage({ viewport: { width: 1280, height: 760 }, reducedMotion: "reduce" })
  page.setDefaultTimeout(60_000)
  await page.goto(server.address)
  await page.getByText("Webhooks in").waitFor()
  const shown = await stack.send([DELIVERED, READ, BLOCKED])
  // A minute of traffic, for the curves.
  for (let round = 0; round < 14; round++) {
    await stack.send(CHOIR.slice(0, 1 + (round % 5)))
    await stack.send([DELIVERED, SILENT].slice(0, 1 + (round % 2)), round % 3 ? "grace" : "hope")
    await new Promise((resolve) => setTimeout(resolve, 1500 + 700 * (round % 4)))
  }
  const text = { from: DELIVERED, to: "+12025559999", text: "Thank you!", webhookUrl: `${stack.file.ingest}/webhooks/telnyx` }
  await fetch(`${stack.file.telnyx}/simulator/inbound`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(text) })
  await until("the message is finished", async () => (await fetchReport(page, `/api/messages/${shown}`)).status === "read")

  await page.getByRole("button", { name: "Run the audit" }).click()
  await page.getByText(/everything adds up|found errors/).waitFor()
  await take(page, "console-now")
  await page.emulateMedia({ colorScheme: "dark" })
  await take(page, "console-now-dark")
  await page.emulateMedia({ colorScheme: "light" })

  await look(page, `messages/failed/${shown}`)
  await page.locator(".life .state", { hasText: "emitted" }).first().waitFor()
  await take(page, "console-messages")

  await look(page, "webhooks/ignored")
  await page.locator("[data-row]").first().click()
  await page.getByRole("button", { name: "Show it" }).click()
  await page.locator("pre").waitFor()
  await take(page, "console-webhooks")

  await look(page, "churches/grace")
  await page.getByRole("row").filter({ hasText: "ben" }).waitFor()
  await page.locator(".scroll td").first().waitFor()
  await take(page, "console-churches")
  await page.getByRole("button", { name: "Preview…" }).click()
  await page.getByText(/events would go to/).waitFor()
  await take(page, "console-replay")
} finally {
  stopClients()
  await browser.close()
  await server.stop()
  await stack.stop()
}

function take(page, name) {
  return page.screenshot({ path: join(folder, `${name}.png`) })
}

async function fetchReport(page, path) {
  return page.evaluate(async (path) => (await (await fetch(path)).json()).report, path)
}
