import assert from "node:assert/strict"
import { createServer } from "node:http"
import { after, before, it } from "node:test"
import { fileURLToPath } from "node:url"
import { build } from "esbuild"
import { startProxy, startStack } from "../test/stack.js"
import { executablePath, launch } from "./browser.js"

const skip = executablePath ? false : "needs Chromium: install it, or set CHROMIUM to its path"
const PATIENCE = { timeout: 60_000 }

let stack, proxy, server, browser
before(async () => {
  if (skip) return
  stack = await startStack()
  proxy = await startProxy(stack.gateway)
  server = await servePage()
  browser = await launch()
})
after(async () => {
  await browser?.close()
  server?.close()
  proxy?.stop()
  await stack?.stop()
})

/** Serves a page with the hooks in StrictMode. */
async function servePage() {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL("page/app.jsx", import.meta.url))],
    bundle: true,
    write: false,
    format: "esm",
    jsx: "automatic",
    alias: { "church-live": fileURLToPath(new URL("../src", import.meta.url)) },
    define: { "process.env.NODE_ENV": '"development"' },
  })
  const serving = createServer((request, response) => {
    const isScript = request.url === "/app.js"
    response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html; charset=utf-8")
    response.end(isScript ? outputFiles[0].text : '<main id="page"></main><script type="module" src="/app.js"></script>')
  })
  await new Promise((resolve) => serving.listen(0, "localhost", resolve))
  return serving
}

it("shows messages and the connection in React's StrictMode, through a cut, without a second connection", { skip }, async () => {
  const page = await browser.newPage()
  const problems = []
  page.on("pageerror", (error) => problems.push(error.message))
  const query = new URLSearchParams({ gateway: proxy.url, api: stack.api, token: stack.token() })
  await page.goto(`http://localhost:${server.address().port}/?${query}`)
  await page.locator("#state", { hasText: /^live$/ }).waitFor(PATIENCE)

  const first = await stack.send()
  await page.locator(`#${line(first)}`, { hasText: "Service is at ten: delivered" }).waitFor(PATIENCE)
  proxy.close()
  await page.locator("#state", { hasText: "polling" }).waitFor(PATIENCE)
  const second = await stack.send()
  proxy.open()
  await page.locator("#state", { hasText: /^live$/ }).waitFor(PATIENCE)
  await page.locator(`#${line(second)}`, { hasText: "delivered" }).waitFor(PATIENCE)

  await page.locator("#send").click()
  await page.locator("li", { hasText: "From the page: delivered" }).waitFor(PATIENCE)
  const ids = await page.locator("li").evaluateAll((lines) => lines.map(({ id }) => id))
  assert.deepEqual(ids.slice(1), [second, first].map(line))
  const metrics = await (await fetch(`${stack.file.ops.gateways[0]}/metrics`)).text()
  assert.match(metrics, /^church_gateway_sockets 1$/m)
  assert.deepEqual(problems, [])
})

const line = (id) => `m-${id}`
