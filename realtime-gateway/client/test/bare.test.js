import assert from "node:assert/strict"
import { after, afterEach, before, it } from "node:test"
import { DELIVERED, client, startStack, stopClients, until } from "./stack.js"

let stack
before(async () => {
  stack = await startStack()
})
after(() => stack.stop())
afterEach(stopClients)

it("works where AbortSignal.timeout, crypto, atob, TextDecoder and document are missing, as in React Native", async () => {
  // Node's own fetch is loaded by its first use, and then needs them.
  await stack.send()
  for (const name of ["crypto", "atob", "TextDecoder", "document"]) {
    Object.defineProperty(globalThis, name, { value: undefined, configurable: true })
  }
  AbortSignal.timeout = undefined
  const kept = new Map()
  const storage = { getItem: () => null, setItem: (key, value) => void kept.set(key, value), removeItem: () => {} }
  const { live } = client(stack, { token: async () => stack.token("Zoë"), storage })
  const { id } = await live.send({ content: "Service is at ten", recipients: [{ phone: DELIVERED }] })
  await until("it is delivered", () => live.messages.get(id)?.status === "delivered")
  const { recipients } = await live.recipients(id, { limit: 1 })
  assert.equal(recipients.length, 1)
  await until("the place is kept by church and user", () => kept.size === 1)
  assert.deepEqual([...kept.keys()], ["church-live:grace:Zoë"])
})
