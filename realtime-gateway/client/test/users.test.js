import assert from "node:assert/strict"
import { after, afterEach, before, beforeEach, describe, it } from "node:test"
import { RequestFailed, SignedOut } from "../src/index.js"
import { SILENT, client, heard, startProxy, startStack, stopClients, until } from "./stack.js"

let stack
before(async () => {
  stack = await startStack()
})
after(() => stack.stop())

const { fetch } = globalThis
let ann, ben, token
beforeEach(() => {
  ;[ann, ben] = [stack.token("ann", 3600, "grace"), stack.token("ben", 3600, "hope")]
  token = ann
})
afterEach(() => {
  globalThis.fetch = fetch
  stopClients()
})

const userOf = (events) => events.at(-1)?.event.userId
const isOf = (request, user) => request?.headers?.Authorization === `Bearer ${user}`

describe("where another user signs in", () => {
  it("shows nothing of the one before, though an answer to that one comes late", async () => {
    const [old, own] = [await stack.send([SILENT], "grace"), await stack.send([SILENT], "hope")]
    let release
    const held = new Promise((resolve) => (release = resolve))
    const late = []
    globalThis.fetch = (url, request) => {
      if (!isOf(request, ann)) return fetch(url, request)
      late.push(held.then(() => fetch(url, request)))
      return late.at(-1)
    }
    const proxy = await startProxy(stack.gateway)
    const { live } = client(stack, { gateway: proxy.url, token: async () => token })
    const events = heard(live, "connected", "error")
    await until("the first user's history was asked for", () => late.length > 0)
    token = ben
    proxy.cut()
    await until("the second user is connected", () => userOf(events) === "ben")
    await until("the second user's history is shown", () => live.messages.get(own))
    release()
    await Promise.all(late)
    const next = await stack.send([SILENT], "hope")
    await until("the late answer is past", () => live.messages.get(next))
    assert.deepEqual(live.messages.rows.map((row) => row.id), [next, own])
    assert.equal(live.messages.get(old), undefined)
    assert.deepEqual(events.filter(({ name }) => name === "error"), [])
  })

  it("does not repeat the send of the one before in the new one's name", async () => {
    const proxy = await startProxy(stack.gateway)
    const { live } = client(stack, { gateway: proxy.url, token: async () => token })
    const events = heard(live, "connected")
    await until("the first user is connected", () => userOf(events) === "ann")
    const posts = []
    globalThis.fetch = (url, request) => {
      if (request.method !== "POST") return fetch(url, request)
      posts.push(request)
      return Promise.reject(new TypeError("no network"))
    }
    const sending = assert.rejects(
      live.send({ content: "From Ann", recipients: [{ phone: SILENT }] }),
      (error) => error instanceof RequestFailed && error.code === "signed_out",
    )
    await until("the send was tried", () => posts.length > 0)
    token = ben
    proxy.cut()
    await sending
    assert.ok(posts.every((request) => isOf(request, ann)))
    assert.ok(live.messages.rows.every((row) => row.content !== "From Ann"))
  })

  it("connects as the new one where a request is the first to notice", async () => {
    token = stack.token("ann", 4, "grace")
    const { live } = client(stack, { token: async () => token })
    const events = heard(live, "connected")
    await until("the first user is connected", () => userOf(events) === "ann")
    token = ben
    const own = await stack.send([SILENT], "hope")
    await live.recipients(own).catch(() => {})
    await until("the second user is connected", () => userOf(events) === "ben")
    await until("the second user's history is shown", () => live.messages.get(own))
    assert.deepEqual(live.messages.rows.filter((row) => row.id === own).length, 1)
  })

  it("ends where a request is the first to hear that the user has signed out", async () => {
    let signIns = 0
    token = stack.token("ann", 4, "grace")
    const source = async () => {
      if (token) return token
      throw new SignedOut()
    }
    const { live } = client(stack, { token: source, signIn: () => signIns++ })
    await until("it is live", () => live.state.name === "live")
    token = undefined
    await assert.rejects(live.send({ content: "x", recipients: [{ phone: SILENT }] }), SignedOut)
    assert.deepEqual([live.state.name, signIns, live.messages.rows.length], ["signed-out", 1, 0])
  })
})
