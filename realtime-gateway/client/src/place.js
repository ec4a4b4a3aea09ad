/**
 * Where a page keeps its place over a reload: `localStorage`, `sessionStorage`, or anything alike.
 *
 * @typedef {{ getItem(key: string): string | null, setItem(key: string, value: string): void, removeItem(key: string): void }} Storage
 */

/** The place in the church's events: the newest cursor, of one user of one church. */
export class Place {
  /** @type {string | undefined} */
  #cursor
  /** @type {string | undefined} */
  #key
  /** @type {Storage | undefined} */
  #storage

  /** @param {Storage} [storage] */
  constructor(storage) {
    this.#storage = storage
  }

  /** @returns {string | undefined} */
  get cursor() {
    return this.#cursor
  }

  /**
   * Takes up the kept place of this user; of nobody known, keeps none.
   *
   * @param {string | undefined} owner
   */
  of(owner) {
    const key = owner && `church-live:${owner}`
    this.#key = key
    this.#cursor = (key && this.#try((storage) => storage.getItem(key))) || undefined
  }

  /** @param {string} cursor */
  move(cursor) {
    this.#cursor = cursor
    const key = this.#key
    if (key) this.#try((storage) => storage.setItem(key, cursor))
  }

  /** Forgets it, also in the storage. */
  forget() {
    const key = this.#key
    if (key) this.#try((storage) => storage.removeItem(key))
    this.#cursor = this.#key = undefined
  }

  /**
   * A full or forbidden storage must not stop the events: the place then lives as long as the page.
   *
   * @template T
   * @param {(storage: Storage) => T} use
   */
  #try(use) {
    try {
      return this.#storage && use(this.#storage)
    } catch {
      return undefined
    }
  }
}
