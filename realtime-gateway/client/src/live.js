import { Connection } from "./connection.js"
import { Emitter } from "./emitter.js"
import { RequestFailed, SignedOut } from "./errors.js"
import { List } from "./list.js"
import { Place } from "./place.js"
import { Rest } from "./rest.js"
import { applied, justAccepted, newestMessageFirst, newestTextFirst } from "./rows.js"
import { newKey, placeholder, untilAnswered } from "./sending.js"
import { nextState } from "./state.js"
import { Tokens } from "./tokens.js"

/** How often the history is read while events don't come, in milliseconds. */
const POLL = 5000
/** Up to this many unknown messages are read one by one; more at once by reading what changed. */
const MOST_SINGLE_READS = 5

/**
 * @typedef {import("./rows.js").Message} Message
 * @typedef {import("./events.js").MessageEvent} MessageEvent
 */

/**
 * @typedef {object} Options
 * @property {string} gateway The gateway's address.
 * @property {string} api message-api's address.
 * @property {() => Promise<string>} token A valid token: called for each connection and before one expires. Throw
 *   `SignedOut` to end. Any other error is tried again later.
 * @property {() => void} [signIn] Called when no token of this user will do: let the user sign in.
 * @property {import("./place.js").Storage} [storage] Keeps the place over a reload, so that notifications of the
 *   meantime still come.
 * @property {Partial<import("socket.io-client").ManagerOptions & import("socket.io-client").SocketOptions>} [socket]
 *   Further options of socket.io-client.
 */

/**
 * The events of a client: the gateway's own, and these. `state`: the state changed. `gap`: events may be missing, so the
 * history is read again. `error`: a reading or a token failed; the client goes on.
 *
 * @typedef {{
 *   [Name in keyof import("./events.js").ServerToClientEvents]: Parameters<import("./events.js").ServerToClientEvents[Name]>[0]
 * } & { state: import("./state.js").State, gap: { reason: string }, error: Error }} LiveEvents
 */

/**
 * A client of one user. It connects once it is started.
 *
 * @param {Options} options
 * @returns {Live}
 */
export function connect(options) {
  return new Live(options)
}

/** A church's messages, live. */
export class Live {
  /** The messages, newest first. @type {List<Message>} */
  messages
  /** The texts that people sent to the church, newest first. Read once somebody subscribes. @type {List<import("./rows.js").Text>} */
  received

  #options
  #tokens
  #place
  #rest
  /** @type {Emitter<LiveEvents>} */
  #emitter = new Emitter()
  /** @type {Connection | undefined} */
  #connection
  #users = 0
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #poll
  /** The newest event of each message whose text is not known yet, by the message's id. @type {Map<string, MessageEvent>} */
  #unknown = new Map()
  /** @type {Set<Promise<unknown>>} */
  #sends = new Set()
  /** @type {string | undefined} */
  #user
  /** @type {import("./state.js").State} */
  #state = { name: "connecting", since: new Date() }
  #facts = initialFacts()

  /** @param {Options} options */
  constructor(options) {
    this.#options = options
    this.#tokens = new Tokens(options.token)
    this.#place = new Place(options.storage)
    this.#rest = new Rest(options.api, this.#tokens)
    this.messages = new List({
      read: (query) => this.#rest.request(`/api/messages/history?${query}`),
      order: newestMessageFirst,
      isNews: (row, known) => row.version > known.version,
      wanted: () => {},
    })
    this.received = new List({
      read: (query) => this.#rest.request(`/api/messages/inbound?${query}`),
      order: newestTextFirst,
      isNews: () => false,
      wanted: () => void this.#refresh([this.received]),
    })
  }

  /**
   * Connects, and stays connected until as many returned functions were called as it was started.
   *
   * @returns {() => void}
   */
  start() {
    this.#users++
    if (!this.#connection) this.#run()
    let ended = false
    return () => {
      if (ended) return
      ended = true
      this.#users--
      // React's StrictMode unmounts and mounts again at once.
      setTimeout(() => this.#users === 0 && this.#stop())
    }
  }

  /** How the page gets its news. The same object as long as nothing changes. */
  get state() {
    return this.#state
  }

  /**
   * Calls the handler for each event of this name, until the returned function is called.
   *
   * @template {keyof LiveEvents} Name
   * @param {Name} name
   * @param {(event: LiveEvents[Name]) => void} handler
   * @returns {() => void}
   */
  on(name, handler) {
    return this.#emitter.on(name, handler)
  }

  /**
   * Sends a text once, however often an answer is lost. Call it once for each press of the button. The message is shown
   * at once, and taken back if this fails.
   *
   * @param {import("./sending.js").Draft} draft
   * @returns {Promise<Message>}
   * @throws {RequestFailed} It was refused, or got no answer.
   */
  async send(draft) {
    const key = newKey()
    const shown = this.#show(placeholder(key, draft))
    const request = { method: "POST", body: draft, headers: { "Idempotency-Key": key } }
    const sent = untilAnswered(() => this.#rest.request("/api/messages/send", request))
    this.#sends.add(sent)
    try {
      return this.#accept(await sent)
    } finally {
      this.#sends.delete(sent)
      this.messages.remove(shown.id)
    }
  }

  /**
   * Cancels what has not left yet.
   *
   * @param {string} id
   * @returns {Promise<{ id: string, cancelled: number, alreadyLeft: number }>}
   */
  async cancel(id) {
    const request = { method: "DELETE" }
    return (await untilAnswered(() => this.#rest.request(`/api/messages/${encodeURIComponent(id)}`, request))).data
  }

  /**
   * Sends the text again to those whom it did not reach for a passing reason. Each recipient is retried once.
   *
   * @param {string} id
   * @param {{ includeUnresolved?: boolean }} [options] `includeUnresolved`: also those who may have got it.
   * @returns {Promise<Message>}
   */
  async retry(id, options = {}) {
    const request = { method: "POST", body: options }
    const path = `/api/messages/${encodeURIComponent(id)}/retry`
    return this.#accept(await untilAnswered(() => this.#rest.request(path, request)))
  }

  /**
   * A page of a message's recipients.
   *
   * @param {string} id
   * @param {{ cursor?: string, limit?: number, status?: import("./events.js").MessageStatus }} [query]
   * @returns {Promise<{ recipients: import("./rows.js").Recipient[], next: string | null }>}
   */
  async recipients(id, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined)
    const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]))
    const page = await this.#rest.request(`/api/messages/${encodeURIComponent(id)}/recipients?${search}`)
    return { recipients: page.data, next: page.pagination.nextCursor }
  }

  #run() {
    this.#facts = initialFacts()
    this.#update({})
    this.#connection = new Connection(this.#options.gateway, {
      tokens: this.#tokens,
      place: this.#place,
      listener: this.#listener(),
      ...(this.#options.socket ? { socket: this.#options.socket } : {}),
    })
    this.#poll = setInterval(() => this.#needsReading() && this.#refresh(), POLL)
    globalThis.addEventListener?.("online", this.#hurry)
    globalThis.document?.addEventListener("visibilitychange", this.#hurry)
  }

  #stop() {
    this.#connection?.end()
    this.#connection = undefined
    clearInterval(this.#poll)
    globalThis.removeEventListener?.("online", this.#hurry)
    globalThis.document?.removeEventListener("visibilitychange", this.#hurry)
    // What happens from now on is not heard.
    this.messages.invalidate()
    this.received.invalidate()
  }

  #hurry = () => this.#connection?.hurry()

  /** @returns {import("./connection.js").Listener} */
  #listener() {
    return {
      connected: (event) => this.#connected(event),
      lost: (reason, retryAt) => this.#update({ connected: false, degraded: false, reason, retryAt }),
      event: (name, event) => this.#heard(name, event),
      problem: (error) => this.#emitter.emit("error", error),
      signedOut: (reason) => this.#signedOut(reason),
      otherUser: () => this.#forgetRows(),
    }
  }

  /** @param {import("./events.js").Connected} event */
  #connected({ recovered, userId }) {
    this.#user = userId
    if (!recovered) {
      if (this.#facts.wasConnected) this.#emitter.emit("gap", { reason: "the gateway can't prove that nothing is missing" })
      this.messages.invalidate()
      this.received.invalidate()
    }
    this.#update({ connected: true, wasConnected: true, reason: undefined, retryAt: undefined })
    if (this.messages.isStale || !recovered) void this.#refresh()
  }

  /**
   * @param {string} name
   * @param {any} event
   */
  #heard(name, event) {
    if (name === "message:sent" || name === "message:status_update") this.#apply(event)
    if (name === "message:received" && this.received.isWatched) void this.#refresh([this.received])
    if (name === "live:degraded") {
      this.#update({ degraded: event.degraded, reason: event.degraded ? "the gateway's news may be late" : undefined })
    }
    this.#emitter.emit(/** @type {keyof LiveEvents} */ (name), event)
  }

  /** @param {MessageEvent} event */
  #apply(event) {
    const known = this.messages.get(event.messageId)
    if (known) return this.messages.put(applied(known, event))
    // Events carry no text: that stands in the history.
    const waiting = this.#unknown.size > 0
    if ((this.#unknown.get(event.messageId)?.version ?? 0) < event.version) this.#unknown.set(event.messageId, event)
    if (!waiting) void this.#readUnknown()
    return undefined
  }

  async #readUnknown() {
    // The answer to a send that is under way brings its row.
    const own = [...this.#unknown.values()].some((event) => event.userId === this.#user)
    await (own ? Promise.allSettled(this.#sends) : undefined)
    const events = [...this.#unknown.values()]
    this.#unknown.clear()
    const unread = events.filter((event) => !this.messages.get(event.messageId))
    events.filter((event) => !unread.includes(event)).forEach((event) => this.#apply(event))
    if (unread.length > MOST_SINGLE_READS || this.messages.isStale) return this.#refresh()
    return this.#reading(() => Promise.all(unread.map((event) => this.#readMessage(event.messageId))))
  }

  /** @param {string} id */
  async #readMessage(id) {
    try {
      const { recipients: _, recipientsNext: __, ...message } = (await this.#rest.request(`/api/messages/${id}`)).data
      this.messages.put(message)
    } catch (error) {
      // Retention may have taken it.
      if (!(error instanceof RequestFailed && error.status === 404)) throw error
    }
  }

  #needsReading() {
    return !this.#facts.connected || this.#facts.degraded || this.#watched().some((list) => list.isStale)
  }

  /** @returns {{ isStale: boolean, refresh: () => Promise<void> }[]} */
  #watched() {
    return this.received.isWatched ? [this.messages, this.received] : [this.messages]
  }

  #refresh(lists = this.#watched()) {
    if (!this.#connection) return Promise.resolve()
    return this.#reading(() => Promise.all(lists.map((list) => list.refresh())))
  }

  /**
   * Reads, and lets the state tell how it went.
   *
   * @param {() => Promise<unknown>} read
   */
  async #reading(read) {
    const connection = this.#connection
    this.#update({})
    try {
      await read()
      if (this.#connection === connection) this.#update({ readingFailed: false, ...(this.#facts.connected ? { reason: undefined } : {}) })
    } catch (error) {
      if (this.#connection !== connection) return
      if (error instanceof SignedOut) return this.#signedOut(error.message)
      this.messages.invalidate()
      const failure = error instanceof Error ? error : new Error(String(error))
      this.#update({ readingFailed: true, reason: failure.message })
      this.#emitter.emit("error", failure)
    }
  }

  /** @param {string} reason */
  #signedOut(reason) {
    if (this.#facts.signedOut) return
    this.#stop()
    this.#place.forget()
    this.#forgetRows()
    this.#update({ signedOut: true, connected: false, reason })
    this.#options.signIn?.()
  }

  #forgetRows() {
    this.messages.clear()
    this.received.clear()
  }

  /** @param {Message} message */
  #show(message) {
    // A clock that is behind must not hide it among older ones.
    const newest = this.messages.rows[0]?.createdAt ?? ""
    const shown = { ...message, createdAt: newest > message.createdAt ? newest : message.createdAt }
    this.messages.put(shown)
    return shown
  }

  /** @param {{ data: Omit<Message, "cancelledCount" | "sentAt"> }} answer */
  #accept({ data }) {
    const message = justAccepted(data)
    this.messages.put(message)
    return this.messages.get(message.id) ?? message
  }

  /** @param {Partial<import("./state.js").Facts>} facts */
  #update(facts) {
    this.#facts = { ...this.#facts, ...facts, stale: this.messages.isStale }
    const state = nextState(this.#state, this.#facts)
    if (state === this.#state) return
    this.#state = state
    this.#emitter.emit("state", state)
  }
}

/** @returns {import("./state.js").Facts} */
function initialFacts() {
  return {
    signedOut: false,
    wasConnected: false,
    connected: false,
    degraded: false,
    stale: true,
    readingFailed: false,
    reason: undefined,
    retryAt: undefined,
  }
}
