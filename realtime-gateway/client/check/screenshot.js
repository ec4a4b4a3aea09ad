// Makes the picture in README's first screen: the page to try the suite on, after a few sends.
//
//   node check/screenshot.js ../../docs/images/page.png

import { startStack } from "../test/stack.js"
import { launch } from "./browser.js"

const SENDS = [
  ["Choir practice moves to seven", "the choir"],
  ["Can you greet at the door on Sunday?", "the ushers"],
  ["Service is at ten", "everybody"],
]

const stack = await startStack()
const browser = await launch()
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 690 }, reducedMotion: "reduce" })
  await page.goto(stack.file.page)
  await page.locator(".state.live").nth(2).waitFor()
  for (const [text, target] of SENDS) {
    await page.locator("[name=content]").fill(text)
    await page.locator("[name=target]").selectOption(target)
    await page.getByRole("button", { name: "Send" }).click()
    await page.locator("section li", { hasText: text }).filter({ hasText: /delivered/ }).nth(1).waitFor()
  }
  await page.getByRole("button", { name: "Cut the connection" }).first().click()
  await page.locator("#proof", { hasText: /1 has them all, Browser 2 has them all/ }).waitFor()
  await page.locator(".state.live").nth(2).waitFor()
  await page.screenshot({ path: process.argv[2] })
} finally {
  await browser.close()
  await stack.stop()
}
