import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { after, before, it } from "node:test"
import { startStack, until } from "../test/stack.js"
import { executablePath, launch } from "./browser.js"
import { look, startConsole } from "./console.js"

const skip = executablePath ? false : "needs Chromium: install it, or set CHROMIUM to its path"
const NEWEST = "01900000-0000-7000-8000-000000000001"
/** The recipient of every message whose number ends so has this telephone number; ten of 100,000. */
const NUMBER = "+12025550002"

let stack, browser, server, page
before(async () => {
  if (skip) return
  stack = await startStack()
  await stack.ops("pause", "sending", "--as", "check")
  await stack.execute(await readFile(new URL("../../../tests/src/load/many_messages.sql", import.meta.url), "utf8"))
  browser = await launch()
  server = await startConsole(stack)
  page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
  page.setDefaultTimeout(90_000)
  await page.goto(server.address)
})
after(async () => {
  await browser?.close()
  await server?.stop()
  await stack?.stop()
})

/** The rows of the list at a place. */
const rows = (place) => page.locator(`[data-row][href^="#/${place}/"]`)
const heading = (name) => page.getByRole("heading", { name }).waitFor()

/** The view takes keys, so it does not hang. */
async function isAlive() {
  await page.evaluate(() => document.activeElement.blur())
  await page.keyboard.press("?")
  await page.getByRole("dialog").waitFor()
  await page.keyboard.press("Escape")
  await page.getByRole("dialog").waitFor({ state: "detached" })
}

const lists = (count, place) => until(`${count} rows are listed at ${place}`, async () => (await rows(place).count()) === count)

/** Waits for a list of so many rows, and opens the first one by keyboard. */
async function opensFirstOf(count, place) {
  await lists(count, place)
  await isAlive()
  await page.keyboard.press("j")
  await page.keyboard.press("Enter")
}

it("counts what waits among a hundred thousand messages up to ten thousand", { skip }, async () => {
  await page.locator(".figure", { hasText: "due now" }).locator("strong", { hasText: "10,000+" }).waitFor()
  await isAlive()
})

it("lists the messages that are stuck or failed, and opens one", { skip }, async () => {
  for (const place of ["messages/stuck", "messages/failed"]) {
    await look(page, place)
    await opensFirstOf(100, place)
    await page.locator(".detail .life").waitFor()
  }
  await page.locator(".reasons", { hasText: "The recipient has opted out." }).getByText("10,000").waitFor()
  await isAlive()
})

it("pages through a church's messages, the newest first", { skip }, async () => {
  const place = "messages/church/crowd"
  await look(page, place)
  await opensFirstOf(50, place)
  await heading(`Message ${NEWEST}`)
  for (const count of [100, 150]) {
    await page.getByRole("button", { name: "Older" }).click()
    await lists(count, place)
  }
  await isAlive()
  const listed = await rows(place).evaluateAll((all) => all.map((row) => row.getAttribute("href").split("/").at(-1)))
  assert.deepEqual(listed, [...listed].sort(), "each once, in the order of their time")
  assert.equal(new Set(listed).size, 150)
})

it("finds a message by its id and by a number", { skip }, async () => {
  for (const text of [NEWEST, NUMBER]) {
    await look(page, "messages/stuck")
    await page.getByRole("searchbox").fill(text)
    await page.getByRole("searchbox").press("Enter")
    if (text === NUMBER) await opensFirstOf(5, `messages/found/${encodeURIComponent(NUMBER)}`)
    await heading(text === NUMBER ? /^Message .+0002$/ : `Message ${NEWEST}`)
    await isAlive()
  }
})

it("lists webhooks by what became of them, pages through them, and opens one", { skip }, async () => {
  for (const place of ["webhooks/ignored", "webhooks/all"]) {
    await look(page, place)
    await opensFirstOf(100, place)
    await page.getByRole("button", { name: "Show it" }).click()
    await page.locator("pre").waitFor()
    await page.getByRole("button", { name: "Older" }).click()
    await lists(200, place)
  }
  await isAlive()
})

it("opens the church", { skip }, async () => {
  await look(page, "churches")
  await opensFirstOf(1, "churches")
  await heading("crowd")
  await page.getByText("Nobody of this church has a live page open.").waitFor()
  await isAlive()
})

it("audits them, and shows the first findings if each is miscounted", { skip }, async () => {
  await look(page, "now")
  await page.getByRole("button", { name: "Run the audit" }).click()
  await page.getByText("everything adds up").waitFor()
  await stack.execute("update messages set read_count = 7")
  await page.getByRole("button", { name: "Audit again" }).click()
  await page.getByText("the audit found errors").waitFor()
  await page.getByText("And 99,900 more; ops audit lists all.").waitFor()
  assert.equal(await page.locator(".work tbody tr").count(), 100)
  await isAlive()
})
