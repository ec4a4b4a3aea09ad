import { RequestFailed, SignedOut } from "./errors.js"

/** Longest wait for an answer, in milliseconds. message-api itself answers within ten seconds. */
const TIMEOUT = 20_000

/** message-api, as one user. */
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
   * The answer's body. A token that has just expired is replaced once.
   *
   * @param {string} path
   * @param {{ method?: string, body?: unknown, headers?: Record<string, string> }} [request]
   * @returns {Promise<any>}
   * @throws {RequestFailed} The request was refused, or got no answer.
   */
  async request(path, request = {}) {
    const token = await given(this.#tokens.usable())
    try {
      return await this.#once(path, request, token)
    } catch (error) {
      if (!(error instanceof RequestFailed && error.code === "token_expired")) throw error
      return this.#once(path, request, await given(this.#tokens.fresh()))
    }
  }

  /**
   * @param {string} path
   * @param {{ method?: string, body?: unknown, headers?: Record<string, string> }} request
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
