// A running console of a test's stack, and the browser pages that look at it.

import { spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const programs = process.env.CHURCH_PROGRAMS ?? fileURLToPath(new URL("../../../target/debug", import.meta.url))

/** Starts `ops console` on a free port. Its address opens it once. */
export async function startConsole(stack, options = [], settings = {}) {
  const words = ["--env-file", join(stack.state, "ops.env"), "console", "--listen", "127.0.0.1:0", ...options]
  const environment = { ...process.env, USER: "anna", OPS_ACTION_LOG: join(stack.state, "actions.jsonl"), ...settings }
  const program = spawn(join(programs, "ops"), words, { env: environment, stdio: ["ignore", "pipe", "inherit"] })
  const [line] = await once(createInterface({ input: program.stdout }), "line")
  const address = line.split(" ").at(-1)
  const ended = new Promise((resolve) => program.once("exit", resolve))
  return {
    address,
    origin: new URL(address).origin,
    async stop() {
      program.kill("SIGTERM")
      return ended
    },
  }
}

/** Goes to a view: `churches/grace`. */
export async function look(page, place) {
  await page.evaluate((hash) => (location.hash = hash), `#/${place}`)
}
