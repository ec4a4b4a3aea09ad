import { claims } from "./claims.js"

/** A token that ends sooner than this is not used for a new request, in seconds. */
const MARGIN = 5

/** The page's tokens: holds the newest, and asks for one at a time. */
export class Tokens {
  /** @type {() => Promise<string>} */
  #source
  /** @type {string | undefined} */
  #held
  /** @type {Promise<string> | undefined} */
  #asking

  /** @param {() => Promise<string>} source */
  constructor(source) {
    this.#source = source
  }

  /**
   * A new token of the page.
   *
   * @returns {Promise<string>}
   */
  fresh() {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  /**
   * The newest token if it is still valid for a while, else a new one.
   *
   * @returns {Promise<string>}
   */
  async usable() {
    const { exp = Infinity } = this.#held ? claims(this.#held) : { exp: 0 }
    return this.#held && exp - MARGIN > Date.now() / 1000 ? this.#held : this.fresh()
  }

  async #ask() {
    this.#held = await this.#source()
    return this.#held
  }
}
