import assert from "node:assert/strict"
import { rm } from "node:fs/promises"
import { join } from "node:path"
import { after, afterEach, before, it } from "node:test"
import { client, heard, startStack, stopClients, until } from "./stack.js"

let stack
before(async () => {
  stack = await startStack()
})
after(() => stack.stop())
afterEach(stopClients)

it("says where events may be missing, and reads what changed", async () => {
  const { live } = client(stack)
  const events = heard(live, "gap", "connected")
  const first = await stack.send()
  const isDelivered = (id) => until(`${id} is delivered`, () => live.messages.get(id)?.status === "delivered")
  await isDelivered(first)
  // The broker loses the stream.
  await stack.restart(() => rm(join(stack.state, "nats"), { recursive: true }))
  const second = await stack.send()
  await until("a gap is told", () => events.some(({ name }) => name === "gap"))
  await isDelivered(second)
  await until("it is live", () => live.state.name === "live")
  assert.deepEqual(new Set(live.messages.rows.map((row) => row.id)), new Set([first, second]))
})
