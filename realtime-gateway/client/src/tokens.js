import { claims } from "./claims.js"
import { SignedOut } from "./errors.js"

/** A token that ends sooner than this is not used for a new request, in seconds. */
const MARGIN = 5

/**
 * What the tokens tell their client.
 *
 * @typedef {object} Listener
 * @property {(owner: string | undefined) => void} first It got a token, and had none of anybody.
 * @property {(owner: string | undefined) => void} other It got one of another user than before.
 * @property {(reason: string) => void} signedOut The page says that the user has signed out.
 */

/** The page's tokens: holds the newest, asks for one at a time, and notices whose they are. */
export class Tokens {
  /** @type {() => Promise<string>} */
  #source
  #listener
  /** @type {string | undefined} */
  #held
  /** @type {Promise<string> | undefined} */
  #asking
  /** @type {string | undefined} */
  #owner
  #session = Symbol("session")

  /**
   * @param {() => Promise<string>} source
   * @param {Listener} listener
   */
  constructor(source, listener) {
    this.#source = source
    this.#listener = listener
  }

  /** Another one for each user, and after each sign-out: an answer that was asked for in one belongs to no other. */
  get session() {
    return this.#session
  }

  /**
   * A new token of the page.
   *
   * @returns {Promise<string>}
   */
  fresh() {
    if (this.#asking) return this.#asking
    const asking = this.#ask().finally(() => {
      if (this.#asking === asking) this.#asking = undefined
    })
    this.#asking = asking
    return asking
  }

  /**
   * The newest token if it is still valid for a while, else a new one.
   *
   * @returns {Promise<string>}
   */
  async usable() {
    if (this.#held === undefined) return this.fresh()
    const { exp = Infinity } = claims(this.#held)
    return exp - MARGIN > Date.now() / 1000 ? this.#held : this.fresh()
  }

  /** Forgets the user. A token that the page still makes for that one is not taken. */
  forget() {
    this.#held = this.#asking = this.#owner = undefined
    this.#session = Symbol("session")
  }

  async #ask() {
    const session = this.#session
    try {
      const token = await this.#source()
      if (session !== this.#session) throw new SignedOut()
      return this.#take(token)
    } catch (error) {
      if (error instanceof SignedOut && session === this.#session) this.#listener.signedOut(error.message)
      throw error
    }
  }

  /** @param {string} token */
  #take(token) {
    const { owner } = claims(token)
    const isFirst = this.#held === undefined
    const isOther = !isFirst && owner !== this.#owner
    this.#held = token
    this.#owner = owner
    if (isOther) this.#session = Symbol("session")
    if (isFirst) this.#listener.first(owner)
    if (isOther) this.#listener.other(owner)
    return token
  }
}
