import { Connection } from "./connection.js"
import { Emitter } from "./emitter.js"
import { RequestFailed } from "./errors.js"
import { List } from "./list.js"
import { Place } from "./place.js"
import { Rest, SIGNED_OUT } from "./rest.js"
import { applied, newestMessageFirst, newestTextFirst } from "./rows.js"
import { Sending, newKey, path } from "./sending.js"
import { Status } from "./state.js"
import { Tokens } from "./tokens.js"
import { Unknown } from "./unknown.js"

/** How often the history is read while events don't come, in milliseconds. */
const POLL = 5000

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
  #sending
  #unknown
  /** @type {Emitter<LiveEvents>} */
  #emitter = new Emitter()
  #status = new Status((state) => this.#emitter.emit("state", state))
  /** @type {Connection | undefined} */
  #connection
  #users = 0
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #poll
  /** @type {string | undefined} */
  #user

  /** @param {Options} options */
  constructor(options) {
    this.#options = options
    this.#tokens = new Tokens(options.token, {
      first: (owner) => this.#place.of(owner),
      other: (owner) => this.#becomes(owner),
      signedOut: (reason) => this.#signedOut(reason),
    })
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
    this.#sending = new Sending(this.#rest, this.messages)
    this.#unknown = new Unknown({
      isKnown: ({ messageId }) => this.messages.get(messageId) !== undefined,
      apply: (event) => this.#apply(event),
      // The answer to a send that is under way brings its row.
      settled: async (events) => events.some(({ userId }) => userId === this.#user) && this.#sending.settled(),
      readEach: (ids) => this.#reading(() => Promise.all(ids.map((id) => this.#readMessage(id)))),
      readChanges: () => this.#refresh(),
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
      setTimeout(() => this.#users === 0 && this.#end())
    }
  }

  /** How the page gets its news. The same object as long as nothing changes. */
  get state() {
    return this.#status.state
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
   * @param {{ key?: string }} [options] `key`: a name of this press that you keep, so that a send without an answer can be
   *   repeated later, also after a reload. By default each call has its own.
   * @returns {Promise<Message>}
   * @throws {RequestFailed} It was refused, or got no answer.
   */
  send(draft, { key = newKey() } = {}) {
    return this.#sending.send(draft, key)
  }

  /**
   * Cancels what has not left yet.
   *
   * @param {string} id
   * @returns {Promise<{ id: string, cancelled: number, alreadyLeft: number }>}
   */
  cancel(id) {
    return this.#sending.cancel(id)
  }

  /**
   * Sends the text again to those whom it did not reach for a passing reason. Each recipient is retried once.
   *
   * @param {string} id
   * @param {{ includeUnresolved?: boolean }} [options] `includeUnresolved`: also those who may have got it.
   * @returns {Promise<Message>}
   */
  retry(id, options = {}) {
    return this.#sending.retry(id, options)
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
    // React Native takes no pairs.
    const search = new URLSearchParams(Object.fromEntries(given.map(([name, value]) => [name, String(value)])))
    const page = await this.#rest.request(path(id, `/recipients?${search}`))
    return { recipients: page.data, next: page.pagination.nextCursor }
  }

  #run() {
    this.#status.reset()
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

  /** The page needs it no more. */
  #end() {
    this.#stop()
    if (!this.#status.facts.signedOut) this.#status.reset()
  }

  #stop() {
    this.#connection?.end()
    this.#connection = undefined
    clearInterval(this.#poll)
    globalThis.removeEventListener?.("online", this.#hurry)
    globalThis.document?.removeEventListener("visibilitychange", this.#hurry)
    // What happens from now on is not heard.
    this.#watchable().forEach((list) => list.invalidate())
  }

  #hurry = () => this.#connection?.hurry()

  /** @returns {import("./connection.js").Listener} */
  #listener() {
    return {
      connected: (event, hadPlace) => this.#connected(event, hadPlace),
      lost: (reason, retryAt) => this.#update({ connected: false, degraded: false, reason, retryAt }),
      event: (name, event) => this.#heard(name, event),
      problem: (error) => this.#emitter.emit("error", error),
      signedOut: (reason) => this.#signedOut(reason),
    }
  }

  /**
   * @param {import("./events.js").Connected} event
   * @param {boolean} hadPlace
   */
  #connected({ recovered, userId }, hadPlace) {
    this.#user = userId
    if (!recovered) {
      if (hadPlace) this.#emitter.emit("gap", { reason: "the gateway can't prove that nothing is missing" })
      this.#watchable().forEach((list) => list.invalidate())
    }
    this.#update({ connected: true, wasConnected: true, reason: undefined, retryAt: undefined })
    if (this.messages.isStale) void this.#refresh()
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
    if (known) this.messages.put(applied(known, event))
    else this.#unknown.add(event)
  }

  /** @param {string} id */
  async #readMessage(id) {
    try {
      const { recipients: _, recipientsNext: __, ...message } = (await this.#rest.request(path(id))).data
      this.messages.put(message)
    } catch (error) {
      // Retention may have taken it.
      if (!(error instanceof RequestFailed && error.status === 404)) throw error
    }
  }

  #needsReading() {
    const { connected, degraded } = this.#status.facts
    return !connected || degraded || this.#watched().some((list) => list.isStale)
  }

  /** @returns {{ isStale: boolean, isWatched: boolean, invalidate: () => void, clear: () => void, refresh: () => Promise<void> }[]} */
  #watchable() {
    return [this.messages, this.received]
  }

  /** The lists to keep right: texts that came in only if somebody wants them. */
  #watched() {
    return this.received.isWatched ? this.#watchable() : [this.messages]
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
      if (this.#connection === connection) this.#wasRead()
    } catch (error) {
      if (this.#connection === connection) this.#couldNotRead(error)
    }
  }

  #wasRead() {
    this.#update({ readingFailed: false, ...(this.#status.facts.connected ? { reason: undefined } : {}) })
  }

  /** @param {unknown} error */
  #couldNotRead(error) {
    // The new user's own reading follows.
    if (error instanceof RequestFailed && error.code === SIGNED_OUT) return
    const failure = error instanceof Error ? error : new Error(String(error))
    this.messages.invalidate()
    this.#update({ readingFailed: true, reason: failure.message })
    this.#emitter.emit("error", failure)
  }

  /**
   * The page's tokens are of another user now.
   *
   * @param {string | undefined} owner
   */
  #becomes(owner) {
    this.#forget()
    this.#place.of(owner)
    this.#status.reset()
    this.#connection?.anew()
  }

  /** @param {string} reason */
  #signedOut(reason) {
    if (this.#status.facts.signedOut) return
    this.#stop()
    this.#tokens.forget()
    this.#forget()
    this.#update({ signedOut: true, connected: false, reason })
    this.#options.signIn?.()
  }

  /** Forgets all that belongs to the user. */
  #forget() {
    this.#place.forget()
    this.#unknown.clear()
    this.#watchable().forEach((list) => list.clear())
    this.#user = undefined
  }

  /** @param {Partial<import("./state.js").Facts>} facts */
  #update(facts) {
    this.#status.update({ ...facts, stale: this.messages.isStale })
  }
}
