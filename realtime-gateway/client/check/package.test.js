import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, it } from "node:test"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { gzipSync } from "node:zlib"
import { build } from "esbuild"
import { publint } from "publint"
import { formatMessage } from "publint/utils"

const run = promisify(execFile)
const root = fileURLToPath(new URL("..", import.meta.url))
/** Most bytes of the package in a page, minified and compressed, without socket.io-client. */
const MOST_BYTES = 6 * 1024
/** What Vite 8 runs on. */
const [major, minor] = process.versions.node.split(".").map(Number)
const skip = major > 20 || (major === 20 && minor >= 19) ? false : "needs Node 20.19 or newer"

let folder, packed
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "church-live-package-"))
  await run("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: root })
  packed = join(folder, (await readdir(folder)).find((file) => file.endsWith(".tgz")))
})
after(() => rm(folder, { recursive: true, force: true }))

it("holds what publint demands of a package", async () => {
  const { messages, pkg } = await publint({ pkgDir: root, strict: true })
  assert.deepEqual(messages.map((message) => formatMessage(message, pkg)), [])
})

it("gives every kind of import its types", async () => {
  const attw = join(root, "node_modules/.bin/attw")
  await run(attw, [packed, "--profile", "esm-only"])
})

it("adds less than 6 KB to a page", async () => {
  const { outputFiles } = await build({
    stdin: { contents: 'export * from "./src/index.js"; export * from "./src/react.js"', resolveDir: root },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    external: ["socket.io-client", "react"],
  })
  const { length } = gzipSync(outputFiles[0].contents)
  assert.ok(length < MOST_BYTES, `${length} bytes`)
  console.log(`# ${length} bytes, minified and compressed`)
})

it("is installed from the packed file into a fresh Vite page with strict TypeScript, which builds", { skip }, async () => {
  const page = await mkdtemp(join(folder, "page-"))
  const write = (file, text) => writeFile(join(page, file), text)
  await write("package.json", JSON.stringify({ name: "page", private: true, type: "module" }))
  await write("index.html", '<ul id="list"></ul><script type="module" src="/main.ts"></script>')
  await write("main.ts", MAIN)
  const packages = [packed, "socket.io-client@4.8.4", "vite@8.3.8", "typescript@5.9.3"]
  await run("npm", ["install", "--no-audit", "--no-fund", ...packages], { cwd: page })
  const bin = (name) => join(page, "node_modules/.bin", name)
  const strict = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--lib", "es2022,dom"]
  const compiled = await run(bin("tsc"), [...strict, "--module", "esnext", "--moduleResolution", "bundler", "main.ts"], { cwd: page }).catch((error) => error)
  assert.equal(compiled.stdout, "")
  await run(bin("vite"), ["build"], { cwd: page })
  assert.deepEqual((await readdir(join(page, "dist"))).sort(), ["assets", "index.html"])
})

const MAIN = `import { connect, type Message, type State } from "church-live"

const live = connect({ gateway: "https://live.example.org", api: "https://api.example.org", token: async () => "" })
const show = (messages: readonly Message[]) => {
  document.querySelector("#list")!.textContent = messages.map(({ content, status }) => content + status).join()
}
live.messages.subscribe(() => show(live.messages.rows))
live.on("state", (state: State) => console.log(state.name, state.retryAt?.toISOString()))
live.on("message:delivered", ({ messageId, deliveredCount }) => console.log(messageId, deliveredCount.toFixed()))
live.on("notification", ({ kind }) => console.log(kind satisfies "message_finished"))
live.start()
`
