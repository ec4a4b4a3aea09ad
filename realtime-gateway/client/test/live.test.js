import assert from "node:assert/strict"
import { after, afterEach, before, describe, it } from "node:test"
import { RequestFailed, SignedOut } from "../src/index.js"
import { BLOCKED, DELIVERED, SILENT, client as startClient, heard, startProxy, startStack, stopClients, until } from "./stack.js"

let stack
before(async () => {
  stack = await startStack()
})
after(() => stack.stop())
afterEach(stopClients)

const client = (options) => startClient(stack, options)

/** A storage, and what it keeps. */
function memory() {
  const kept = new Map()
  const getItem = (key) => kept.get(key) ?? null
  const setItem = (key, value) => void kept.set(key, value)
  return { storage: { getItem, setItem, removeItem: (key) => void kept.delete(key) }, kept }
}

const isLive = (live) => until("the client is live", () => live.state.name === "live")
const hasStatus = (live, id, status) =>
  until(`${id} is ${status}`, () => live.messages.rows.some((row) => row.id === id && row.status === status))

describe("a client", () => {
  it("shows each change of each message, and reads a new one by its id", async () => {
    const { live } = client()
    const states = heard(live, "state")
    await isLive(live)
    const queries = []
    const { fetch } = globalThis
    globalThis.fetch = (url, request) => (queries.push(new URL(url).pathname), fetch(url, request))
    try {
      const id = await stack.send()
      queries.length = 0
      await hasStatus(live, id, "delivered")
      assert.equal(live.messages.get(id).content, "Service is at ten")
      assert.equal(live.messages.get(id).deliveredCount, 1)
      assert.deepEqual([...new Set(queries)], [`/api/messages/${id}`])
    } finally {
      globalThis.fetch = fetch
    }
    assert.deepEqual(states.map(({ event }) => event.name).slice(-2), ["catching-up", "live"])
  })

  it("misses nothing through cuts of its connection and a killed gateway", async () => {
    const proxy = await startProxy(stack.gateway)
    const { live } = client({ gateway: proxy.url })
    const events = heard(live, "connected", "gap")
    await isLive(live)
    const ids = []
    for (let cuts = 0; cuts < 3; cuts++) {
      ids.push(await stack.send())
      if (cuts === 1) await stack.kill("realtime-gateway-1")
      else proxy.cut()
      ids.push(await stack.send())
      await until("it is connected again", () => live.state.name === "live")
    }
    for (const id of ids) await hasStatus(live, id, "delivered")
    const connected = events.filter(({ name }) => name === "connected").map(({ event }) => event.recovered)
    assert.deepEqual([connected[0], new Set(connected.slice(1))], [false, new Set([true])])
    assert.equal(events.filter(({ name }) => name === "gap").length, 0)
  })

  it("polls while the gateway can't be reached, and is offline while nothing can", async () => {
    const [gateway, api] = await Promise.all([startProxy(stack.gateway), startProxy(stack.api)])
    const { live } = client({ gateway: gateway.url, api: api.url })
    const errors = heard(live, "error")
    await isLive(live)
    gateway.close()
    await until("it polls", () => live.state.name === "polling")
    assert.ok(live.state.reason && live.state.retryAt > live.state.since)
    const id = await stack.send()
    await hasStatus(live, id, "delivered")
    api.close()
    await until("it is offline", () => live.state.name === "offline")
    assert.ok(errors.length > 0 && errors.every(({ event }) => event instanceof RequestFailed))
    api.open()
    gateway.open()
    await isLive(live)
    assert.equal(live.state.reason, undefined)
  })

  it("tells of a gap and begins with the history where its kept cursor is no good", async () => {
    const { storage, kept } = memory()
    kept.set("church-live:grace:u1", "AQID")
    const { live } = client({ storage })
    const events = heard(live, "connected", "gap")
    const id = await stack.send()
    await hasStatus(live, id, "delivered")
    assert.deepEqual(events.map(({ name }) => name), ["connected", "gap"])
    assert.equal(events[0].event.recovered, false)
    assert.notEqual(kept.get("church-live:grace:u1"), "AQID")
  })

  it("resumes over a reload from the kept cursor, also beside another client on the same one", async () => {
    const { storage, kept } = memory()
    const first = client({ storage })
    await isLive(first.live)
    await until("the cursor is kept", () => kept.size === 1)
    first.stop()
    const id = await stack.send()
    const both = [client({ storage: { ...storage, setItem() {} } }), client({ storage })]
    const events = both.map(({ live }) => heard(live, "connected", "message:sent"))
    for (const [index, { live }] of both.entries()) {
      await hasStatus(live, id, "delivered")
      assert.equal(events[index][0].event.recovered, true)
      await until("the event of the meantime came", () => events[index].some(({ event }) => event.messageId === id))
    }
  })

  it("extends its connection before the token ends", async () => {
    const tokens = [stack.token("u1", 61), stack.token("u1", 3600)]
    const { live } = client({ token: async () => (tokens.length > 1 ? tokens.shift() : tokens[0]) })
    const events = heard(live, "auth:expiring", "error", "connected")
    await until("the token is about to end", () => events.some(({ name }) => name === "auth:expiring"))
    const id = await stack.send()
    await hasStatus(live, id, "delivered")
    assert.deepEqual(events.map(({ name }) => name).filter((name) => name !== "auth:expiring"), ["connected"])
  })

  it("comes back with a new token after one that ended", async () => {
    let asked = 0
    const { live } = client({ token: async () => (++asked === 1 ? stack.token("u1", -60) : stack.token()) })
    await isLive(live)
    assert.ok(asked >= 2)
  })

  it("ends signed out where the page says so, or its token is revoked, and forgets its place and rows", async () => {
    const { storage, kept } = memory()
    let signIns = 0
    const revoked = client({ token: async () => token, storage, signIn: () => signIns++ })
    const token = stack.token("leaver")
    await isLive(revoked.live)
    assert.equal(kept.size, 1)
    await stack.ops("revoke", "--church", "grace", "--user", "leaver")
    await until("it is signed out", () => revoked.live.state.name === "signed-out")
    assert.match(revoked.live.state.reason, /revoked/)
    assert.deepEqual([signIns, kept.size, revoked.live.messages.rows.length], [1, 0, 0])

    const gone = client({
      token: async () => {
        throw new SignedOut()
      },
      signIn: () => signIns++,
    })
    await until("it is signed out", () => gone.live.state.name === "signed-out")
    assert.equal(signIns, 2)
  })

  it("goes on trying where the page can't give a token for a while", async () => {
    let asked = 0
    const { live } = client({
      token: async () => {
        if (++asked < 3) throw new Error("the sign-in service is away")
        return stack.token()
      },
    })
    await until("it says why", () => /sign-in service is away/.test(live.state.reason ?? ""))
    await isLive(live)
  })

  it("stays connected while it is stopped and started again at once, and leaves nothing behind at the end", async () => {
    const { live, stop } = client()
    const connections = heard(live, "connected")
    await isLive(live)
    stop()
    const again = live.start()
    const id = await stack.send()
    await hasStatus(live, id, "delivered")
    assert.equal(connections.length, 1)
    again()
    await until("its connection has ended", async () => {
      const metrics = await (await fetch(`${stack.file.ops.gateways[0]}/metrics`)).text()
      return /^church_gateway_sockets 0$/m.test(metrics)
    })
    assert.equal(live.state.name, "connecting")
  })

  it("shows texts that come in, if somebody wants them", async () => {
    const { live } = client()
    await isLive(live)
    live.received.subscribe(() => {})
    await until("they were read", () => !live.received.isStale)
    await stack.reply("Thank you")
    await until("the text is shown", () => live.received.rows[0]?.text === "Thank you")
  })
})

describe("sending", () => {
  it("shows the message at once, and sends it once however often answers are lost", async () => {
    const proxy = await startProxy(stack.api)
    const { live } = client({ api: proxy.url })
    await isLive(live)
    const { fetch } = globalThis
    let lost = 0
    globalThis.fetch = async (url, request) => {
      const answer = await fetch(url, request)
      if (request.method === "POST" && ++lost < 3) throw new TypeError("the answer was lost")
      return answer
    }
    try {
      const sending = live.send({ content: "Once", recipients: [{ phone: DELIVERED }] })
      const [row] = live.messages.rows
      assert.deepEqual([row.content, row.sending, row.status], ["Once", true, "pending"])
      const { id } = await sending
      await hasStatus(live, id, "delivered")
      assert.equal(live.messages.rows.filter((row) => row.content === "Once").length, 1)
      assert.equal(live.messages.get(id).sending, undefined)
    } finally {
      globalThis.fetch = fetch
    }
  })

  it("sends once under a key of the page's own, as for a draft that outlives a reload", async () => {
    const { live } = client()
    const send = () => live.send({ content: "A draft", recipients: [{ phone: SILENT }] }, { key: "draft-1" })
    const [first, again] = [await send(), await send()]
    assert.equal(first.id, again.id)
  })

  it("takes the message back with the reason if it is refused", async () => {
    const { live } = client()
    await isLive(live)
    const sending = live.send({ content: "x", recipients: [{ phone: "12" }] })
    assert.equal(live.messages.rows[0].sending, true)
    await assert.rejects(sending, (error) => {
      assert.ok(error instanceof RequestFailed)
      assert.deepEqual([error.status, error.code, error.details[0].field], [422, "invalid", "recipients[0].phone"])
      return true
    })
    assert.ok(live.messages.rows.every((row) => !row.sending))
  })

  it("sends to a group, cancels what has not left, and retries nobody twice", async () => {
    const { live } = client()
    await isLive(live)
    const { id } = await live.send({ content: "To the ushers", targetType: "groups", targetIds: ["ushers"] })
    await hasStatus(live, id, "delivered")
    const { recipients, next } = await live.recipients(id)
    assert.deepEqual([recipients.length, next], [3, null])

    const later = new Date(Date.now() + 3_600_000).toISOString()
    const waiting = await live.send({ content: "Later", recipients: [{ phone: SILENT }], sendAt: later })
    assert.deepEqual(await live.cancel(waiting.id), { id: waiting.id, cancelled: 1, alreadyLeft: 0 })
    await hasStatus(live, waiting.id, "failed")
    assert.equal(live.messages.get(waiting.id).cancelledCount, 1)

    const blocked = await live.send({ content: "No", recipients: [{ phone: BLOCKED }] })
    await hasStatus(live, blocked.id, "failed")
    await assert.rejects(live.retry(blocked.id), (error) => error.code === "nothing_to_retry")
  })
})

describe("the list", () => {
  it("reaches down page by page without a hole or a repetition", async () => {
    const church = "pages"
    const ids = []
    for (let sent = 0; sent < 105; sent++) ids.push(await stack.send([SILENT], church))
    const { live } = client({ token: async () => stack.token("u1", 3600, church) })
    await isLive(live)
    assert.deepEqual([live.messages.rows.length, live.messages.hasMore], [100, true])
    await Promise.all([live.messages.more(), live.messages.more()])
    assert.deepEqual(live.messages.rows.map((row) => row.id), ids.reverse())
    assert.equal(live.messages.hasMore, false)
  })
})
