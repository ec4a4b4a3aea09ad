import { RequestFailed, SignedOut } from "./errors.js"

/** Longest wait for an answer, in milliseconds. message-api itself answers within ten seconds. */
const TIMEOUT = 20_000

/** How often a request without an answer is tried. */
const TRIES = 10
/** The code of a request whose user has signed out, or was followed by another one, before it was answered. */
export const SIGNED_OUT = "signed_out"

/** @typedef {{ method?: string, body?: unknown, headers?: Record<string, string> }} Request */

/** message-api, as the page's user. */
export class Rest {
  /** @type {string} */
  #base
  /** @type {import("./tokens.js").Tokens} */
  #tokens

  /**
   * @param {string} base
   * @param {import("./tokens.js").Tokens} tokens
   */
  constructor(base, tokens) {
    this.#base = base.replace(/\/+$/, "")
    this.#tokens = tokens
  }

  /**
   * The answer's body.
   *
   * @param {string} path
   * @param {Request} [request]
   * @returns {Promise<any>}
   * @throws {RequestFailed} It was refused, or got no answer, or the user has changed meanwhile.
   */
  request(path, request = {}) {
    return this.#tried(path, request, this.#tokens.session)
  }

  /**
   * The same for a request that may be repeated: repeats it until it is answered, as the same user.
   *
   * @param {string} path
   * @param {Request} request
   * @returns {Promise<any>}
   * @throws {RequestFailed}
   */
  async untilAnswered(path, request) {
    const { session } = this.#tokens
    for (let tries = 1; ; tries++) {
      try {
        return await this.#tried(path, request, session)
      } catch (error) {
        const wait = error instanceof RequestFailed ? error.retryAfter : undefined
        if (wait === undefined || tries === TRIES) throw error
        await new Promise((resolve) => setTimeout(resolve, wait * 1000))
      }
    }
  }

  /**
   * A token that has just expired is replaced once.
   *
   * @param {string} path
   * @param {Request} request
   * @param {symbol} session
   */
  async #tried(path, request, session) {
    try {
      return await this.#as(session, this.#tokens.usable(), path, request)
    } catch (error) {
      if (!(error instanceof RequestFailed && error.code === "token_expired")) throw error
      return this.#as(session, this.#tokens.fresh(), path, request)
    }
  }

  /**
   * Asks nothing in another user's name, and gives nobody another user's answer.
   *
   * @param {symbol} session
   * @param {Promise<string>} token
   * @param {string} path
   * @param {Request} request
   */
  async #as(session, token, path, request) {
    const usable = await given(token)
    this.#mustBe(session)
    try {
      return await this.#once(path, request, usable)
    } finally {
      this.#mustBe(session)
    }
  }

  /** @param {symbol} session */
  #mustBe(session) {
    if (session !== this.#tokens.session) throw new RequestFailed("the user has signed out", { code: SIGNED_OUT })
  }

  /**
   * @param {string} path
   * @param {Request} request
   * @param {string} token
   */
  async #once(path, { method = "GET", body, headers }, token) {
    // AbortSignal.timeout is missing in React Native.
    const abort = new AbortController()
    const timer = setTimeout(() => abort.abort(), TIMEOUT)
    try {
      const answer = await fetch(`${this.#base}${path}`, {
        method,
        headers: {
          Authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { "Content-Type": "application/json" }),
          ...headers,
        },
        signal: abort.signal,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const read = await answer.json()
      if (answer.ok) return read
      throw refusal(answer, read)
    } catch (error) {
      if (error instanceof RequestFailed) throw error
      throw new RequestFailed("no answer from the server; try again", { retryAfter: 2 })
    } finally {
      clearTimeout(timer)
    }
  }
}

/**
 * A token that the page can't give at the moment is like an answer that does not come.
 *
 * @param {Promise<string>} token
 */
async function given(token) {
  try {
    return await token
  } catch (error) {
    if (error instanceof SignedOut) throw error
    throw new RequestFailed("there is no token at the moment; try again", { code: "no_token", retryAfter: 2 })
  }
}

/**
 * @param {Response} answer
 * @param {{ error?: string, code?: string, details?: { field: string, message: string }[] }} body
 */
function refusal(answer, { error, code, details }) {
  const after = answer.headers.get("Retry-After")
  return new RequestFailed(error ?? `the server answers ${answer.status}`, {
    status: answer.status,
    ...(code ? { code } : {}),
    ...(details ? { details } : {}),
    retryAfter: after === null ? undefined : Number(after) || 2,
  })
}
