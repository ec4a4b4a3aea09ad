import { RequestFailed } from "./errors.js"
import { List } from "./list.js"
import { SIGNED_OUT } from "./rest.js"
import { newestMessageFirst, newestTextFirst } from "./rows.js"
import { path } from "./sending.js"

/**
 * What a reading tells its client.
 *
 * @typedef {object} Listener
 * @property {() => void} begun
 * @property {() => void} done
 * @property {(error: Error) => void} failed
 */

/** What is read from message-api: the lists that the page shows, read again where events don't keep them right. */
export class History {
  /** @type {List<import("./rows.js").Message>} */
  messages
  /** @type {List<import("./rows.js").Text>} */
  received
  #rest
  #listener
  /** Another one for each time that the client runs: a reading tells only the one that it was begun in. */
  #run = Symbol("run")
  #isRunning = false

  /**
   * @param {import("./rest.js").Rest} rest
   * @param {Listener} listener
   */
  constructor(rest, listener) {
    this.#rest = rest
    this.#listener = listener
    this.messages = new List({
      read: (query) => rest.request(`/api/messages/history?${query}`),
      order: newestMessageFirst,
      isNews: (row, known) => row.version > known.version,
      wanted: () => {},
    })
    this.received = new List({
      read: (query) => rest.request(`/api/messages/inbound?${query}`),
      order: newestTextFirst,
      isNews: () => false,
      wanted: () => void this.refresh([this.received]),
    })
  }

  /** Whether a list that somebody wants may lack a change. */
  get isStale() {
    return this.#wanted().some((list) => list.isStale)
  }

  start() {
    this.#run = Symbol("run")
    this.#isRunning = true
  }

  /** From now on nobody hears what changes. */
  stop() {
    this.#isRunning = false
    this.#run = Symbol("run")
    this.invalidate()
  }

  invalidate() {
    this.#all().forEach((list) => list.invalidate())
  }

  clear() {
    this.#all().forEach((list) => list.clear())
  }

  /** Reads what changed. */
  async refresh(lists = this.#wanted()) {
    if (this.#isRunning) await this.#reading(() => Promise.all(lists.map((list) => list.refresh())))
  }

  /**
   * Reads single messages.
   *
   * @param {string[]} ids
   */
  async readEach(ids) {
    await this.#reading(() => Promise.all(ids.map((id) => this.#readMessage(id))))
  }

  /**
   * @param {string} id
   * @param {Record<string, string | number | undefined>} query
   * @returns {Promise<{ recipients: import("./rows.js").Recipient[], next: string | null }>}
   */
  async recipients(id, query) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined)
    // React Native takes no pairs.
    const search = new URLSearchParams(Object.fromEntries(given.map(([name, value]) => [name, String(value)])))
    const page = await this.#rest.request(path(id, `/recipients?${search}`))
    return { recipients: page.data, next: page.pagination.nextCursor }
  }

  /** @returns {{ isStale: boolean, invalidate: () => void, clear: () => void, refresh: () => Promise<void> }[]} */
  #all() {
    return [this.messages, this.received]
  }

  /** Texts that came in are read only if somebody wants them. */
  #wanted() {
    return this.received.isWatched ? this.#all() : [this.messages]
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

  /** @param {() => Promise<unknown>} read */
  async #reading(read) {
    const run = this.#run
    this.#listener.begun()
    try {
      await read()
      if (run === this.#run) this.#listener.done()
    } catch (error) {
      if (run === this.#run) this.#failed(error)
    }
  }

  /** @param {unknown} error */
  #failed(error) {
    // The new user's own reading follows.
    if (error instanceof RequestFailed && error.code === SIGNED_OUT) return
    this.messages.invalidate()
    this.#listener.failed(error instanceof Error ? error : new Error(String(error)))
  }
}
