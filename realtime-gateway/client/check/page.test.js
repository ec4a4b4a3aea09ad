import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { after, before, it } from "node:test"
import { startStack, until } from "../test/stack.js"
import { executablePath, launch } from "./browser.js"

const skip = executablePath ? false : "needs Chromium: install it, or set CHROMIUM to its path"
const PATIENCE = { timeout: 60_000 }

let stack, browser, page
const problems = []
before(async () => {
  if (skip) return
  stack = await startStack()
  browser = await launch()
  page = await open()
})
after(async () => {
  await browser?.close()
  await stack?.stop()
})

async function open({ address = stack.file.page, ...options } = {}) {
  const opened = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options })
  opened.on("pageerror", (error) => problems.push(error.message))
  opened.on("console", (message) => {
    // A connection that a button has cut is an error for the browser alone.
    if (message.type() === "error" && /Content Security Policy|Uncaught/.test(message.text())) problems.push(message.text())
  })
  await opened.goto(address)
  return opened
}

const pane = (name) => page.locator(`section[aria-label="${name}"]`)
const isLive = (name) => pane(name).locator(".state", { hasText: /^live$/ }).waitFor(PATIENCE)
const hasAll = async () => {
  await page.locator("#proof", { hasText: /Browser 1 has them all, Browser 2 has them all/ }).waitFor(PATIENCE)
}

async function send(text, target = "one member") {
  await page.locator("[name=content]").fill(text)
  await page.locator("[name=target]").selectOption(target)
  await page.getByRole("button", { name: "Send" }).click()
}
const shows = (name, text, status) =>
  pane(name).locator("li", { hasText: text }).filter({ hasText: status }).waitFor(PATIENCE)

it("shows a text in both browsers of its church, and nothing in the other church's", { skip }, async () => {
  for (const name of ["Browser 1", "Browser 2", "Another church"]) await isLive(name)
  await send("To the ushers", "the ushers")
  for (const name of ["Browser 1", "Browser 2"]) await shows(name, "To the ushers", "3 of 3")
  await pane("Browser 2").locator("summary", { hasText: "To the ushers" }).click()
  await pane("Browser 2").locator("p", { hasText: "Dan Miller" }).waitFor(PATIENCE)
  await hasAll()
  assert.equal(await pane("Another church").locator("li").count(), 0)
  assert.match(await page.locator(".proof").innerText(), /newest \d+ ms/)
})

it("resumes without a loss after everything that a button does", { skip }, async () => {
  const buttons = ["Cut the connection", "Expire the token", "Kill the gateway", "Stop the broker", "Repeat and reorder webhooks"]
  for (const [index, name] of buttons.entries()) {
    await page.getByRole("button", { name }).first().click()
    await send(`After ${index}`)
    for (const browserName of ["Browser 1", "Browser 2"]) await shows(browserName, `After ${index}`, "delivered")
    await hasAll()
  }
  await page.getByRole("button", { name: "Repeat and reorder webhooks" }).click()
  await page.getByRole("button", { name: "Let the carrier fail" }).click()
  await page.locator("#said", { hasText: "The carrier delivers no text now." }).waitFor(PATIENCE)
  await send("Fails")
  await shows("Browser 2", "Fails", "failed")
  await page.getByRole("button", { name: "Let the carrier fail" }).click()
})

it("says why a text was refused and takes it back", { skip }, async () => {
  await send("x".repeat(1600))
  await page.locator("#said", { hasText: "at most 10 are allowed" }).waitFor(PATIENCE)
  await until("it is taken back", async () => (await pane("Browser 1").locator("li", { hasText: "xxxx" }).count()) === 0)
})

it("has nothing that axe objects to, in light, in dark and on a narrow screen, and can be used by keyboard", { skip }, async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")
  for (const options of [{}, { colorScheme: "dark" }, { viewport: { width: 360, height: 740 } }]) {
    const other = await open(options)
    await other.locator("li").first().waitFor(PATIENCE)
    await other.evaluate(axe)
    const { violations } = await other.evaluate(() => globalThis.axe.run())
    assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes[0].html]), [])
    assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= innerWidth))
    await other.close()
  }
  await page.locator("[name=content]").fill("By keyboard")
  await page.locator("[name=target]").selectOption("one member")
  await page.locator("[name=content]").press("Enter")
  await shows("Browser 2", "By keyboard", "delivered")
})

it("gives its buttons to nobody without the secret, from another origin or by another name", { skip }, async () => {
  const { origin, hash } = new URL(stack.file.page)
  const secret = hash.slice(1)
  const press = (headers) => fetch(`${origin}/faults/kill-gateway`, { method: "POST", headers })
  const pids = async () => (await stack.now()).processes["realtime-gateway-1"]
  const before = await pids()
  assert.equal((await press({})).status, 403)
  assert.equal((await press({ "X-Stack-Secret": "guess" })).status, 403)
  assert.equal((await press({ "X-Stack-Secret": secret, Origin: "http://evil.example" })).status, 403)
  assert.equal((await fetch(`${origin}/session`, { method: "POST" })).status, 403)
  assert.equal(await pids(), before)
})

it("works without buttons by the address for other devices", { skip }, async () => {
  const { origin, hash } = new URL(stack.file.pageView)
  const guest = await open({ address: stack.file.pageView })
  await guest.locator(".state.live").first().waitFor(PATIENCE)
  await guest.locator("li").first().waitFor(PATIENCE)
  assert.deepEqual(await guest.getByRole("button").allInnerTexts(), ["Send"])
  const headers = { "X-Stack-Secret": hash.slice(1) }
  assert.equal((await fetch(`${origin}/faults/kill-gateway`, { method: "POST", headers })).status, 403)
  assert.equal((await fetch(`${origin}/telnyx/calm`, { method: "POST", headers })).status, 403)
})

it("shows the API's document", { skip }, async () => {
  const { origin, hash } = new URL(stack.file.page)
  const api = await browser.newPage()
  await api.goto(`${origin}/api${hash}`)
  await api.getByText("Send a message").first().waitFor(PATIENCE)
})

it("leaves the browser without an error", { skip }, () => {
  assert.deepEqual(problems, [])
})
