/**
 * `connecting`: it has not been connected yet. `live`: every change arrives at once. `catching-up`: connected, and the
 * history is being read. `polling`: not connected, but the history is read every few seconds. `offline`: neither works.
 * `signed-out`: it has ended trying.
 *
 * @typedef {"connecting" | "live" | "catching-up" | "polling" | "offline" | "signed-out"} StateName
 */

/**
 * How the page gets its news.
 *
 * @typedef {object} State
 * @property {StateName} name
 * @property {Date} since
 * @property {string} [reason] Why it is not live, for a person.
 * @property {Date} [retryAt] When it tries to connect next.
 */

/**
 * The state of the client's parts.
 *
 * @typedef {object} Facts
 * @property {boolean} signedOut
 * @property {boolean} wasConnected The client was connected once.
 * @property {boolean} connected
 * @property {boolean} degraded The gateway says that news may be late.
 * @property {boolean} stale The history has to be read.
 * @property {boolean} readingFailed The last reading failed.
 * @property {string | undefined} reason
 * @property {Date | undefined} retryAt
 */

/** The state of a client, made of the state of its parts. */
export class Status {
  #facts = initialFacts()
  /** @type {State} */
  #state = { name: "connecting", since: new Date() }
  #changed

  /** @param {(state: State) => void} changed */
  constructor(changed) {
    this.#changed = changed
  }

  get facts() {
    return this.#facts
  }

  /** The same object as long as nothing changes. */
  get state() {
    return this.#state
  }

  /** @param {Partial<Facts>} facts */
  update(facts) {
    this.#facts = { ...this.#facts, ...facts }
    const state = nextState(this.#state, this.#facts)
    if (state === this.#state) return
    this.#state = state
    this.#changed(state)
  }

  /** Begins anew. */
  reset() {
    this.update(initialFacts())
  }
}

/** @returns {Facts} */
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

/**
 * @param {Facts} facts
 * @returns {StateName}
 */
function stateName(facts) {
  if (facts.signedOut) return "signed-out"
  if (facts.connected && !facts.degraded) return facts.stale ? "catching-up" : "live"
  if (facts.readingFailed) return "offline"
  return facts.wasConnected || !facts.stale ? "polling" : "connecting"
}

/**
 * The state after the facts have changed: the same object if a page would show the same.
 *
 * @param {State} before
 * @param {Facts} facts
 * @returns {State}
 */
function nextState(before, facts) {
  const name = stateName(facts)
  const reason = name === "live" ? undefined : facts.reason
  const retryAt = name === "live" || name === "signed-out" ? undefined : facts.retryAt
  const isSame = before.name === name && before.reason === reason && before.retryAt?.getTime() === retryAt?.getTime()
  if (isSame) return before
  return {
    name,
    since: before.name === name ? before.since : new Date(),
    ...(reason === undefined ? {} : { reason }),
    ...(retryAt === undefined ? {} : { retryAt }),
  }
}
