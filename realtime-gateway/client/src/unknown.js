/** Up to this many messages are read one by one; more at once by reading what changed. */
const MOST_SINGLE_READS = 5

/** @typedef {import("./events.js").MessageEvent} MessageEvent */

/** Messages that an event told of before their text is known: events carry none, so it is read. */
export class Unknown {
  /** The newest event of each message, by the message's id. @type {Map<string, MessageEvent>} */
  #events = new Map()
  #how

  /**
   * @param {object} how
   * @param {(event: MessageEvent) => boolean} how.isKnown
   * @param {(event: MessageEvent) => void} how.apply Applies an event of a message that has become known.
   * @param {(events: MessageEvent[]) => Promise<unknown>} how.settled Waits for what may make messages known.
   * @param {(ids: string[]) => Promise<void>} how.readEach
   * @param {() => Promise<void>} how.readChanges
   */
  constructor(how) {
    this.#how = how
  }

  /** @param {MessageEvent} event */
  add(event) {
    const isReading = this.#events.size > 0
    if ((this.#events.get(event.messageId)?.version ?? 0) < event.version) this.#events.set(event.messageId, event)
    if (!isReading) void this.#read()
  }

  clear() {
    this.#events.clear()
  }

  async #read() {
    await this.#how.settled([...this.#events.values()])
    const events = [...this.#events.values()]
    this.clear()
    events.filter(this.#how.isKnown).forEach(this.#how.apply)
    const unread = events.filter((event) => !this.#how.isKnown(event)).map((event) => event.messageId)
    await (unread.length > MOST_SINGLE_READS ? this.#how.readChanges() : this.#how.readEach(unread))
  }
}
