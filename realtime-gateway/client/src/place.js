import { claims } from "./claims.js"

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
   * Takes up the place of a token's user. Forgets the one of another user. Returns whether it is another user.
   *
   * @param {string} token
   */
  of(token) {
    const { churchId, userId } = claims(token)
    const key = `church-live:${churchId}:${userId}`
    if (key === this.#key) return false
    const isOther = this.#key !== undefined
    if (isOther) this.forget()
    this.#key = key
    if (churchId && userId) this.#cursor = this.#try((storage) => storage.getItem(key)) ?? undefined
    return isOther
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
