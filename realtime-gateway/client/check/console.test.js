import assert from "node:assert/strict"
import { randomUUID } from "node:crypto"
import { readFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { join } from "node:path"
import { after, before, it } from "node:test"
import { BLOCKED, client, DELIVERED, SILENT, startStack, stopClients, until } from "../test/stack.js"
import { executablePath, launch } from "./browser.js"
import { look, startConsole } from "./console.js"

const skip = executablePath ? false : "needs Chromium: install it, or set CHROMIUM to its path"
const PATIENCE = { timeout: 60_000 }

let stack, browser, server, context, page, id
const problems = []
before(async () => {
  if (skip) return
  stack = await startStack()
  client(stack)
  id = await stack.send([DELIVERED, BLOCKED, SILENT])
  browser = await launch()
  server = await startConsole(stack, ["--allow-changes"])
  context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
  page = await open(context)
})
after(async () => {
  stopClients()
  await browser?.close()
  await server?.stop()
  await stack?.stop()
})

async function open(within, address = server.address) {
  const opened = await within.newPage()
  opened.setDefaultTimeout(PATIENCE.timeout)
  opened.on("pageerror", (error) => problems.push(error.message))
  opened.on("console", (message) => {
    // What is away is an error for the browser, too.
    if (message.type() === "error" && /Content Security Policy|Uncaught/.test(message.text())) problems.push(message.text())
  })
  await opened.goto(address)
  return opened
}

const sees = (text, within = page) => within.getByText(text).first().waitFor()
const button = (name, within = page) => within.getByRole("button", { name, exact: true })
const dialog = () => page.getByRole("dialog")

/** Confirms the change that is asked for, and waits for its end. */
async function confirm(verb, says) {
  await button(verb, dialog()).click()
  await dialog().locator(".work .state", { hasText: /^done$/ }).waitFor()
  await dialog().getByText(says).first().waitFor()
  await button("Close", dialog()).click()
  await dialog().waitFor({ state: "detached" })
}

/** Follows the events of the church that is looked at. The subscription is there once one of them is marked as new. */
async function follow(within) {
  await button("Live: off", within).click()
  await button("Live: on", within).waitFor()
  await until("a new event comes", async () => {
    await stack.send([DELIVERED])
    return (await within.locator("tr.fresh").count()) > 0
  })
}

it("lets a browser in once by the printed address, and takes the token out of it", { skip }, async () => {
  await sees("Webhooks in")
  assert.equal(new URL(page.url()).hash, "#/now")
  assert.equal(await page.evaluate(() => document.cookie), "")
  const stranger = await browser.newContext()
  for (const address of [server.address, server.origin, `${server.origin}/#${"0".repeat(64)}`]) {
    const other = await open(stranger, address)
    await sees("has no session", other)
    await other.close()
  }
  await stranger.close()
})

it("shows each process, the last minutes, and that nothing is lost", { skip }, async () => {
  for (const service of ["message-api", "webhook-ingest", "realtime-gateway"]) {
    const row = page.getByRole("row").filter({ hasText: service })
    await row.locator(".state", { hasText: /^ready$/ }).waitFor()
    await row.getByText(/0\.1\.0/).waitFor()
  }
  await page.getByRole("img", { name: /^webhooks: now/ }).waitFor()
  await until("no event waits", async () => (await page.locator(".figure", { hasText: "waiting in the outbox" }).locator("strong").innerText()) === "0")
  await button("Run the audit").click()
  await sees("everything adds up")
})

it("tells who did not get a message and why, and its whole life", { skip }, async () => {
  await look(page, "messages/failed")
  await page.locator("[data-row]").first().click()
  await page.locator("table", { hasText: "The recipient has opted out" }).waitFor()
  for (const step of ["accepted", "attempted", "announced", "failed", "emitted"]) await page.locator(".life .state", { hasText: new RegExp(`^${step}$`) }).first().waitFor()
  const masked = await page.locator("main").innerText()
  assert.ok(masked.includes("•••0102") && !masked.includes(BLOCKED), masked)
  await button("Show numbers").click()
  await sees(BLOCKED)
  await button("Hide numbers").click()
  await until("the numbers are hidden", async () => !(await page.locator("main").innerText()).includes(BLOCKED))
})

it("names a recipient alike in the table and in each step, and leads from a step to its webhook", { skip }, async () => {
  await look(page, `messages/stuck/${id}`)
  const step = page.locator(".life li", { hasText: "message.finalized" }).first()
  const [number, name] = (await step.locator(".quiet").last().innerText()).split(" ")
  await page.locator("tr", { hasText: number }).getByText(name).waitFor()
  await step.getByRole("link").click()
  await page.getByRole("heading", { name: /^message.finalized / }).waitFor()
  const telnyxId = await page.locator("dd a").first().innerText()
  await page.getByRole("searchbox").fill(telnyxId)
  await page.getByRole("searchbox").press("Enter")
  await sees(`of one recipient of message ${id}.`)
  await page.locator("[data-row]", { hasText: "message.finalized" }).click()
  await page.getByRole("heading", { name: /^message.finalized / }).waitFor()
})

it("lists a church's new messages while the list is open, and tells why one is not confirmed", { skip }, async () => {
  await look(page, "messages/church/grace")
  await page.locator(`[data-row][href$="${id}"]`).waitFor()
  const message = await stack.send(["+12025550105"])
  await page.locator(`[data-row][href$="${message}"]`, { hasText: "sent" }).click()
  await page.locator("table", { hasText: "The carrier does not confirm whether it delivered this text." }).waitFor()
})

it("finds a message by its id, by a number and by its church", { skip }, async () => {
  for (const text of [id, DELIVERED, "grace"]) {
    await look(page, "messages/stuck")
    await page.getByRole("searchbox").fill(text)
    await page.getByRole("searchbox").press("Enter")
    if (text === "grace") await page.locator(`[data-row][href$="${id}"]`).click()
    await page.getByRole("heading", { name: `Message ${id}` }).waitFor()
    if (text === DELIVERED) await sees("Found: 1 message to +•••••••0101.")
  }
  await look(page, "messages/found/nothing-like-this")
  await sees("there is no such message")
})

it("sends again to those whom a message did not reach, once somebody has confirmed it", { skip }, async () => {
  await fetch(`${stack.file.telnyx}/simulator/rules`, { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify([{ phone: DELIVERED, answer: { refuse: { status: 400, code: "40010" } }, times: 1 }]) })
  const failed = await stack.send([DELIVERED])
  await look(page, `messages/stuck/${failed}`)
  await page.locator(".detail .state", { hasText: /^failed$/ }).first().waitFor()
  await button("Send again…").click()
  await sees(`ops retry ${failed}`, dialog())
  await button("Leave it", dialog()).click()
  await button("Send again…").click()
  await confirm("Send again", /goes to 1 recipient/)
  await page.getByRole("link", { name: "retried" }).click()
  await page.locator(".detail header .state", { hasText: /^delivered$/ }).waitFor()
})

it("pauses sending, cancels what waits, and resumes", { skip }, async () => {
  await look(page, "churches/grace")
  await button("Pause sending…").click()
  await confirm("Pause", "sending is paused for grace by operator:anna")
  const waiting = await stack.send([DELIVERED])
  await look(page, `messages/stuck/${waiting}`)
  await button("Cancel…").click()
  await confirm("Cancel the rest", /no text for 1 recipient/)
  await sees("Cancelled by")
  await look(page, "now")
  await sees("Sending is paused for grace by anna")
  await page.locator("tr", { hasText: "message-api" }).getByText("paused by operators for grace").waitFor()
  assert.deepEqual(await page.locator(".attention li").allInnerTexts(), ["Sending is paused for grace by anna"])
  await button("Resume…").click()
  await confirm("Resume", "nothing is paused")
})

it("lists webhooks by what became of them, shows a body as text, and processes an ignored one again", { skip }, async () => {
  // To a number that belongs to no church.
  const text = { from: DELIVERED, to: "+12025559999", text: "<img src=x onerror=alert(1)>", webhookUrl: `${stack.file.ingest}/webhooks/telnyx` }
  await fetch(`${stack.file.telnyx}/simulator/inbound`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(text) })
  await look(page, "webhooks/ignored")
  await page.locator("[data-row]", { hasText: "message.received" }).click()
  await button("Show it").click()
  const body = await page.locator("pre").innerText()
  assert.ok(body.includes(text.text) && body.includes("•••0101") && !body.includes(DELIVERED), body)
  assert.equal(await page.locator("pre img").count(), 0)
  await page.getByRole("checkbox", { name: /^Choose/ }).check()
  await button("Process 1 again…").click()
  await sees("1 webhook would be processed again", dialog())
  await confirm("Process again", "processed 1 webhook again")
  await look(page, "webhooks/all")
  await until("other webhooks are listed", async () => (await page.locator("[data-row]").count()) > 1)
  await fetch(`${stack.file.ingest}/webhooks/telnyx`, { method: "POST", body: "{}" })
  await look(page, "webhooks/refused")
  await sees("signature missing")
})

it("shows who of a church is connected and its events as they come, and replays them", { skip }, async () => {
  await look(page, "churches/grace")
  await page.getByRole("row").filter({ hasText: "u1" }).waitFor()
  await follow(page)
  await page.getByLabel("Since").fill("2h")
  await button("Preview…").click()
  await sees(/\d+ events would go to 1 socket of grace/, dialog())
  await sees("ops replay --church grace --since 2h --rate 100", dialog())
  await confirm("Replay", /replayed \d+ events of grace/)
})

it("stops a replay half way", { skip }, async () => {
  await look(page, "churches/grace")
  await page.getByLabel("At most").fill("1")
  await button("Preview…").click()
  await button("Replay", dialog()).click()
  await dialog().getByText(/\d+ of \d+ events/).waitFor()
  await button("Stop", dialog()).click()
  await dialog().getByText(/the consumer is removed/).waitFor()
  await button("Close", dialog()).click()
})

it("revokes the tokens of a person, and accepts them again", { skip }, async () => {
  await look(page, "churches/grace")
  await page.getByRole("textbox", { name: "Id" }).fill("nobody-7")
  await button("Revoke…").click()
  await confirm("Revoke", /userId nobody-7 in grace .* are revoked/)
  await button("Undo…").click()
  await confirm("Accept again", /are accepted again/)
  await sees("No tokens of this church are revoked.")
})

it("revokes everybody's tokens only by a button of its own", { skip }, async () => {
  await page.getByRole("textbox", { name: "Id" }).fill(" ")
  await button("Revoke…").click()
  assert.equal(await dialog().count(), 0)
  await button("Revoke everybody…").click()
  await sees("Revoke the tokens of everybody in grace that were issued until now?", dialog())
  await confirm("Revoke everybody", /tokens of everybody in grace .* are revoked/)
  await button("Undo…").click()
  await confirm("Accept again", /are accepted again/)
})

it("finds a lost event, and repairs it: the event comes again", { skip }, async () => {
  const message = await stack.send([DELIVERED])
  await look(page, `messages/stuck/${message}`)
  await page.locator(".detail header .state", { hasText: /^delivered$/ }).waitFor()
  const lost = page.locator(".life .state", { hasText: /^lost$/ })
  await until("its events are announced", async () => (await page.locator(".life .state", { hasText: /^waits$/ }).count()) === 0 && (await page.locator(".life .state", { hasText: /^emitted$/ }).count()) > 1)
  const other = await open(context, `${server.origin}/#/churches/grace`)
  await follow(other)
  // As if the stream had lost the message's last event, and held another one in its place.
  const event = randomUUID()
  await stack.execute(`update outbox set event_id = '${event}', payload = replace(payload, event_id, '${event}')
    where position = (select max(position) from outbox where message_id = '${message}')`)
  await lost.waitFor()
  await look(page, "now")
  await button("Run the audit").click()
  await page.getByRole("row").filter({ hasText: event }).locator(".state", { hasText: /^lost$/ }).waitFor()
  await button("Repair…").click()
  await sees("Let the relay announce 1 lost event again?", dialog())
  await sees("ops audit --repair", dialog())
  await confirm("Repair", /the relay announces 1 event again/)
  await other.locator("tr.fresh", { has: other.locator(`a[href$="${message}"]`) }).first().waitFor()
  await other.close()
  await look(page, `messages/stuck/${message}`)
  await page.locator(".detail .life").waitFor()
  await until("it is not lost any more", async () => (await lost.count()) === 0)
})

it("keeps a log of the changes with who made them", { skip }, async () => {
  await button("Work and log").click()
  await dialog().getByRole("row").filter({ hasText: "ops revoke --church grace --user nobody-7" }).first().waitFor()
  await button("Close", dialog()).click()
  const lines = (await readFile(join(stack.state, "actions.jsonl"), "utf8")).trim().split("\n").map((line) => JSON.parse(line))
  assert.ok(lines.every(({ operator }) => operator === "operator:anna"))
  assert.ok(lines.some(({ command, state }) => command === "ops resume sending --church grace" && state === "done"))
})

it("has nothing that axe objects to, in light, in dark and on a narrow screen", { skip }, async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")
  const other = await context.newPage()
  await other.goto(server.origin)
  const sizes = [["light", 1280], ["dark", 1280], ["light", 360]]
  for (const [colorScheme, width] of sizes) {
    await other.emulateMedia({ colorScheme })
    await other.setViewportSize({ width, height: 800 })
    for (const place of ["now", "messages/failed", `messages/stuck/${id}`, "messages/church/grace", "webhooks/ignored", `webhooks/found/${id}`, "churches/grace"]) {
      await look(other, place)
      await other.locator("main .card, main [data-row], main dl").first().waitFor()
      // Without the violations of a page that is still being read.
      await until("the page is read", async () => (await other.getByText("Reading…").count()) === 0)
      await other.evaluate(axe)
      const { violations } = await other.evaluate(() => globalThis.axe.run())
      assert.deepEqual(violations.map(({ id, nodes }) => [place, colorScheme, width, id, nodes[0].html]), [])
      assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${place} fits ${width}`)
    }
  }
  await other.close()
})

it("can be used by keyboard alone", { skip }, async () => {
  await page.locator("body").press("2")
  await page.locator("nav [aria-current=page]", { hasText: "Messages" }).waitFor()
  await page.keyboard.press("/")
  await page.keyboard.type("grace")
  await page.keyboard.press("Enter")
  await page.locator("[data-row]").first().waitFor()
  await page.evaluate(() => document.activeElement.blur())
  await page.keyboard.press("j")
  await page.keyboard.press("Enter")
  await page.locator(".detail .life").waitFor()
  await page.keyboard.press("?")
  await sees("search", dialog())
  await page.keyboard.press("Escape")
  await dialog().waitFor({ state: "detached" })
})

it("changes nothing where it only reads, and shows the command to copy", { skip }, async () => {
  const reading = await startConsole(stack)
  const own = await browser.newContext()
  const other = await open(own, reading.address)
  await sees("read only", other)
  await button("Pause everybody…", other).click()
  await sees("ops pause sending", other.getByRole("dialog"))
  await sees("This console only reads", other.getByRole("dialog"))
  assert.equal(await button("Pause", other.getByRole("dialog")).count(), 0)
  await own.close()
  assert.equal(await reading.stop(), 0)
})

it("shows what it can without a database", { skip }, async () => {
  const without = await startConsole(stack, ["--database-url", `sqlite:${stack.state}/there-is-none.db`])
  const own = await browser.newContext()
  const other = await open(own, without.address)
  await sees(/The database can't be read/, other)
  await other.getByRole("row").filter({ hasText: "message-api" }).waitFor()
  await look(other, "messages/failed")
  await other.getByRole("alert").first().waitFor()
  await look(other, "churches/grace")
  await other.getByRole("row").filter({ hasText: "u1" }).waitFor()
  await own.close()
  await without.stop()
})

it("shows what it can without a broker", { skip }, async () => {
  process.kill((await stack.now()).processes["nats-server"], "SIGSTOP")
  try {
    await look(page, "now")
    await sees(/needs? attention/)
    await look(page, `messages/stuck/${id}`)
    await page.getByRole("heading", { name: `Message ${id}` }).waitFor()
    await look(page, "churches/grace")
    await page.getByRole("alert").first().waitFor()
    await page.getByRole("row").filter({ hasText: "u1" }).waitFor()
  } finally {
    process.kill((await stack.now()).processes["nats-server"], "SIGCONT")
  }
})

it("leaves the browser without an error", { skip }, () => {
  assert.deepEqual(problems, [])
})
