import { io } from "socket.io-client"

/** First wait before another attempt, in milliseconds. It doubles with each failure in a row. */
const FIRST_WAIT = 1000
const LONGEST_WAIT = 5000
/** After this many refused tokens in a row, the user has to sign in. */
const MOST_REFUSALS = 5

/** What socket.io-client calls a disconnect that the client asked for itself. */
const OWN_DISCONNECT = "io client disconnect"
/** The gateway's words for a token with which no later attempt will do. */
const ENDED = /revoked|church missing|a church id is/

/**
 * What the connection tells its client.
 *
 * @typedef {object} Listener
 * @property {(event: import("./events.js").Connected, hadPlace: boolean) => void} connected `hadPlace`: events were to
 *   follow a place that the client had.
 * @property {(reason: string, retryAt: Date) => void} lost
 * @property {(name: string, event: any) => void} event Every packet, `connected` included.
 * @property {(error: Error) => void} problem
 * @property {(reason: string) => void} signedOut
 */

/** A connection to the gateway that comes back by itself, each time with a fresh token and the newest cursor. */
export class Connection {
  #socket
  #tokens
  #place
  #listener
  #running = true
  #isAsking = false
  #failures = 0
  #refusals = 0
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #waiting

  /**
   * @param {string} gateway
   * @param {object} parts
   * @param {import("./tokens.js").Tokens} parts.tokens
   * @param {import("./place.js").Place} parts.place
   * @param {Listener} parts.listener
   * @param {Partial<import("socket.io-client").ManagerOptions & import("socket.io-client").SocketOptions>} [parts.socket]
   */
  constructor(gateway, { tokens, place, listener, socket }) {
    this.#tokens = tokens
    this.#place = place
    this.#listener = listener
    this.#socket = io(gateway, {
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      ...socket,
      // This class reconnects itself: each attempt needs a token first.
      autoConnect: false,
      reconnection: false,
      forceNew: true,
    })
    this.#listen()
    void this.#attempt()
  }

  /** Ends it for good. */
  end() {
    this.#running = false
    clearTimeout(this.#waiting)
    this.#socket.disconnect()
  }

  /** Tries at once if it waits for another attempt: the network is back, or the page is looked at again. */
  hurry() {
    if (this.#waiting !== undefined) void this.#attempt()
  }

  /** Comes back as another user. */
  anew() {
    // An attempt that still asks for a token gets the new user's.
    if (this.#isAsking) return
    this.#socket.disconnect()
    void this.#attempt()
  }

  #listen() {
    this.#socket.onAny((name, event) => this.#take(name, event))
    this.#socket.on("auth:expiring", () => void this.#refresh())
    this.#socket.on("disconnect", (reason) => reason !== OWN_DISCONNECT && this.#tryLater(reason))
    this.#socket.on("connect_error", ({ message }) => this.#refused(message))
  }

  /**
   * @param {string} name
   * @param {any} event
   */
  #take(name, event) {
    this.#listener.event(name, event)
    if (name === "connected") {
      this.#failures = this.#refusals = 0
      this.#listener.connected(event, this.#place.cursor !== undefined)
    }
    // After the event was applied: a place ahead of the page's rows would lose it.
    if (event?.cursor) this.#place.move(event.cursor)
  }

  async #attempt() {
    clearTimeout(this.#waiting)
    this.#waiting = undefined
    const token = await this.#token()
    if (token === undefined || !this.#running) return
    this.#socket.auth = { token, cursor: this.#place.cursor }
    this.#socket.connect()
  }

  /** A fresh token; without one, tries later. */
  async #token() {
    this.#isAsking = true
    try {
      return await this.#tokens.fresh()
    } catch (error) {
      this.#tryLater(`no token: ${text(error)}`)
      return undefined
    } finally {
      this.#isAsking = false
    }
  }

  /** @param {string} message */
  #refused(message) {
    const isRefusal = message.startsWith("Authentication error")
    this.#refusals = isRefusal ? this.#refusals + 1 : 0
    if (ENDED.test(message) || this.#refusals === MOST_REFUSALS) this.#endSignedOut(message)
    else this.#tryLater(message)
  }

  /** @param {string} reason */
  #tryLater(reason) {
    if (!this.#running) return
    const wait = Math.min(FIRST_WAIT * 2 ** this.#failures++, LONGEST_WAIT) * (0.5 + Math.random())
    clearTimeout(this.#waiting)
    this.#waiting = setTimeout(() => void this.#attempt(), wait)
    this.#listener.lost(reason, new Date(Date.now() + wait))
  }

  /** @param {string} reason */
  #endSignedOut(reason) {
    if (!this.#running) return
    this.end()
    this.#listener.signedOut(reason)
  }

  /** Extends the connection's time by a fresh token. Without one it is closed at its end and comes back. */
  async #refresh() {
    try {
      const token = await this.#tokens.fresh()
      // What is emitted without a connection would be sent by the next one.
      if (!this.#socket.connected) return
      this.#socket.emit("auth:refresh", { token }, (/** @type {import("./events.js").Refreshed} */ answer) => {
        if (!answer.ok) this.#listener.problem(new Error(answer.error))
      })
    } catch (error) {
      if (this.#running) this.#listener.problem(new Error(`no token: ${text(error)}`))
    }
  }
}

/** @param {unknown} error */
function text(error) {
  return error instanceof Error ? error.message : String(error)
}
