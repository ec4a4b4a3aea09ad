/** Rows on a page. */
const PAGE = 100
/** After this many pages of changes, the list begins anew with the newest page. */
const MOST_PAGES_OF_CHANGES = 10

/**
 * @template Row
 * @typedef {{ data: Row[], pagination: { nextCursor: string | null }, asOf: string }} Page
 */

/**
 * The newest rows of one of message-api's lists, newest first. It is read once; then changes keep it right.
 *
 * @template {{ id: string }} Row
 */
export class List {
  /** @type {Map<string, Row>} */
  #rows = new Map()
  /** The oldest row that the list reaches down to; undefined if it reaches the end. @type {Row | undefined} */
  #floor
  /** The cursor of the page below the floor; undefined before the first reading. @type {string | null | undefined} */
  #next
  /** Up to when changes were read. @type {string | undefined} */
  #asOf
  #stale = true
  /** Another one after each `clear`. */
  #life = Symbol("life")
  /** @type {Promise<void> | undefined} */
  #reading
  /** @type {readonly Row[] | undefined} */
  #snapshot
  /** @type {Set<() => void>} */
  #subscribers = new Set()
  #notifying = false
  #read
  #order
  #isNews
  #wanted

  /**
   * @param {object} how
   * @param {(query: URLSearchParams) => Promise<Page<Row>>} how.read
   * @param {(a: Row, b: Row) => number} how.order
   * @param {(row: Row, known: Row) => boolean} how.isNews Whether a row replaces the known one of the same id.
   * @param {() => void} how.wanted Called when somebody begins to watch the list.
   */
  constructor({ read, order, isNews, wanted }) {
    this.#read = read
    this.#order = order
    this.#isNews = isNews
    this.#wanted = wanted
  }

  /**
   * The rows, newest first. The same array as long as nothing changes.
   *
   * @returns {readonly Row[]}
   */
  get rows() {
    this.#snapshot ??= [...this.#rows.values()].filter((row) => this.#reaches(row)).sort(this.#order)
    return this.#snapshot
  }

  /** Whether there are older rows to read with `more`. */
  get hasMore() {
    return typeof this.#next === "string"
  }

  /** Whether the rows may lack a change, because they were not read yet, or a reading failed. */
  get isStale() {
    return this.#stale || this.#reading !== undefined
  }

  /** Whether somebody subscribes to it. */
  get isWatched() {
    return this.#subscribers.size > 0
  }

  /**
   * @param {string} id
   * @returns {Row | undefined}
   */
  get(id) {
    return this.#rows.get(id)
  }

  /**
   * Calls back after each change, once for changes at the same time, until the returned function is called.
   *
   * @param {() => void} changed
   * @returns {() => void}
   */
  subscribe(changed) {
    const own = () => changed()
    this.#subscribers.add(own)
    if (this.#subscribers.size === 1) this.#wanted()
    return () => void this.#subscribers.delete(own)
  }

  /**
   * Takes a row in, unless the known one is as new.
   *
   * @param {Row} row
   */
  put(row) {
    const known = this.#rows.get(row.id)
    if (known && !this.#isNews(row, known)) return
    this.#rows.set(row.id, row)
    this.#changed()
  }

  /** @param {string} id */
  remove(id) {
    if (this.#rows.delete(id)) this.#changed()
  }

  /** Marks the rows as lacking a change. */
  invalidate() {
    this.#stale = true
  }

  /** Forgets everything, also a reading that is under way. */
  clear() {
    this.#life = Symbol("life")
    this.#reading = undefined
    this.#beginAnew()
  }

  /**
   * Reads what changed; at first the newest page. One reading at a time: asked for meanwhile, one more follows.
   *
   * @returns {Promise<void>}
   */
  refresh() {
    this.#stale = true
    if (this.#reading) return this.#reading
    const reading = this.#readUntilFresh().finally(() => {
      if (this.#reading === reading) this.#reading = undefined
    })
    this.#reading = reading
    return reading
  }

  /**
   * Reads the next older page.
   *
   * @returns {Promise<void>}
   */
  async more() {
    const cursor = this.#next
    if (typeof cursor !== "string") return
    const page = await this.#page({ cursor })
    // A second call has read the same page.
    if (this.#next === cursor) this.#append(page)
  }

  async #readUntilFresh() {
    const life = this.#life
    while (this.#stale && life === this.#life) {
      this.#stale = false
      try {
        await (this.#asOf === undefined ? this.#readNewest() : this.#readChanges(this.#asOf))
      } catch (error) {
        if (life === this.#life) this.#stale = true
        throw error
      }
    }
  }

  async #readNewest() {
    const page = await this.#page({})
    this.#asOf = page.asOf
    this.#append(page)
  }

  /** @param {string} updatedSince */
  async #readChanges(updatedSince) {
    /** @type {string | null} */
    let cursor = null
    let began
    for (let pages = 0; pages < MOST_PAGES_OF_CHANGES; pages++) {
      /** @type {Page<Row>} */
      const page = await this.#page(cursor === null ? { updatedSince } : { updatedSince, cursor })
      began ??= page.asOf
      page.data.forEach((row) => this.put(row))
      cursor = page.pagination.nextCursor
      if (cursor === null) {
        this.#asOf = began
        return
      }
    }
    this.#beginAnew()
  }

  #beginAnew() {
    this.#rows.clear()
    this.#floor = this.#next = this.#asOf = undefined
    this.#stale = true
    this.#changed()
  }

  /** @param {Record<string, string>} query */
  #page(query) {
    return this.#read(new URLSearchParams({ limit: String(PAGE), ...query }))
  }

  /** @param {Page<Row>} page */
  #append({ data, pagination }) {
    this.#next = pagination.nextCursor
    this.#floor = this.#next === null ? undefined : data.at(-1)
    data.forEach((row) => this.put(row))
    this.#changed()
  }

  /** A row below the floor would make a hole. @param {Row} row */
  #reaches(row) {
    return this.#floor === undefined || this.#order(row, this.#floor) <= 0
  }

  #changed() {
    this.#snapshot = undefined
    if (this.#notifying) return
    this.#notifying = true
    queueMicrotask(() => {
      this.#notifying = false
      this.#subscribers.forEach((changed) => changed())
    })
  }
}
