// A running stack of its own for a test file, and what the tests do to it.

import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { createHmac } from "node:crypto"
import { mkdtemp, readFile, rm } from "node:fs/promises"
import { connect as dial, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { connect } from "../src/index.js"

const programs = process.env.CHURCH_PROGRAMS ?? fileURLToPath(new URL("../../../target/debug", import.meta.url))
const run = promisify(execFile)

/** Longest wait for a condition, in milliseconds. */
const PATIENCE = 90_000

/** The number whose texts the simulated Telnyx delivers, blocks, and keeps silent about. */
export const DELIVERED = "+12025550101"
export const BLOCKED = "+12025550102"
export const SILENT = "+12025550103"

/** Starts a stack on free ports; `stop` ends it. Its folder is kept if a test fails. */
export async function startStack(options = []) {
  const state = await mkdtemp(join(tmpdir(), "church-live-"))
  await up(state, options)
  return new TestStack(state, await fileOf(state), options)
}

function up(state, options) {
  const words = ["up", "--state", state, "--detach", "--free-ports", ...options]
  return run(join(programs, "stack"), words, { timeout: PATIENCE })
}

async function fileOf(state) {
  return JSON.parse(await readFile(join(state, "stack.json"), "utf8"))
}

class TestStack {
  constructor(state, file, options) {
    this.state = state
    this.file = file
    this.options = options
    this.api = file.api
    this.gateway = file.gateways[0]
  }

  /** A token of a user of the church, valid for some seconds. */
  token(user = "u1", seconds = 3600, church = "grace") {
    const now = Math.floor(Date.now() / 1000)
    const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url")
    const claims = { userId: user, churchId: church, iat: now, exp: now + seconds }
    const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`
    return `${signed}.${createHmac("sha256", this.file.jwtSecret).update(signed).digest("base64url")}`
  }

  /** The content of `stack.json` now. */
  now() {
    return fileOf(this.state)
  }

  /** Kills a process. The stack starts it again. */
  async kill(name) {
    process.kill((await this.now()).processes[name], "SIGKILL")
  }

  /** An operators' command. */
  ops(...words) {
    return run(join(programs, "ops"), [...words, "--database-url", this.file.database])
  }

  /** Runs statements on the stack's SQLite, as no service would. */
  async execute(statements) {
    const program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=60).executescript(sys.stdin.read())"
    const running = run("python3", ["-c", program, this.file.database.replace(/^sqlite:/, "")], { timeout: PATIENCE })
    running.child.stdin.end(statements)
    await running
  }

  /** Sends a text as somebody else would, and returns its id. */
  async send(phones = [DELIVERED], church = "grace") {
    const answer = await fetch(`${this.api}/api/messages/send`, {
      method: "POST",
      headers: { Authorization: `Bearer ${this.token("other", 3600, church)}`, "Content-Type": "application/json" },
      body: JSON.stringify({ content: "Service is at ten", recipients: phones.map((phone) => ({ phone })) }),
    })
    return (await answer.json()).data.id
  }

  /** Lets a member answer the church by a text. */
  reply(text) {
    return run(join(programs, "stack"), ["trigger", "reply", "--state", this.state, "--text", text])
  }

  /** Stops everything, does something, and starts it again with its data and ports. */
  async restart(between) {
    await run(join(programs, "stack"), ["down", "--state", this.state])
    await between()
    await up(this.state, this.options)
    const { api, gateways } = await this.now()
    assert.deepEqual([api, gateways[0]], [this.api, this.gateway], "another program has taken a port meanwhile")
  }

  async stop() {
    await run(join(programs, "stack"), ["down", "--state", this.state])
    if (process.exitCode) console.error(`the stack's data and logs are kept in ${this.state}`)
    else await rm(this.state, { recursive: true, force: true })
  }
}

const ends = []

/** A started client with a token that lasts; `stop` ends it, else `stopClients`. */
export function client(stack, options = {}) {
  const live = connect({ gateway: stack.gateway, api: stack.api, token: async () => stack.token(), ...options })
  const stop = live.start()
  ends.push(stop)
  return { live, stop }
}

/** Ends all clients and ways, also those of a test that failed: they would keep the tests from ending. */
export function stopClients() {
  ends.splice(0).forEach((end) => end())
}

/** A way to a server that a test can cut, close and open again. */
export async function startProxy(target) {
  const { hostname, port } = new URL(target)
  const open = new Set()
  let closed = false
  const server = createServer((near) => {
    if (closed) return near.destroy()
    const far = dial(Number(port), hostname)
    for (const [one, other] of [[near, far], [far, near]]) {
      open.add(one)
      one.on("error", () => other.destroy()).on("close", () => (open.delete(one), other.destroy()))
      one.pipe(other)
    }
    return undefined
  })
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve))
  const cut = () => open.forEach((socket) => socket.destroy())
  const stop = () => (cut(), server.close())
  ends.push(stop)
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Ends all connections. */
    cut,
    /** Ends all connections and lets none through. */
    close: () => ((closed = true), cut()),
    open: () => (closed = false),
    stop,
  }
}

/** Waits until the condition gives something true, and returns that. */
export async function until(what, condition) {
  const end = Date.now() + PATIENCE
  for (;;) {
    const found = await condition()
    if (found) return found
    if (Date.now() > end) throw new Error(`did not happen: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Collects a client's events of some names. */
export function heard(live, ...names) {
  const events = []
  for (const name of names) live.on(name, (event) => events.push({ name, event }))
  return events
}

