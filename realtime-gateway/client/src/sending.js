import { RequestFailed } from "./errors.js"

/**
 * A text to send: either `recipients`, or `targetType` with `targetIds`.
 *
 * @typedef {object} Draft
 * @property {string} content
 * @property {{ phone: string, memberId?: string, firstName?: string, lastName?: string }[]} [recipients]
 * @property {"individual" | "groups" | "branches" | "all"} [targetType]
 * @property {string[]} [targetIds]
 * @property {string} [conversationId]
 * @property {string[]} [mediaUrls]
 * @property {string} [sendAt] At most 90 days ahead, as 2026-11-22T20:15:00Z.
 */

/** How often a request without an answer is repeated. */
const TRIES = 10

/**
 * Repeats a request that may be repeated, until it is answered.
 *
 * @template T
 * @param {() => Promise<T>} request
 * @returns {Promise<T>}
 */
export async function untilAnswered(request) {
  for (let tries = 1; ; tries++) {
    try {
      return await request()
    } catch (error) {
      const wait = error instanceof RequestFailed ? error.retryAfter : undefined
      if (wait === undefined || tries === TRIES) throw error
      await new Promise((resolve) => setTimeout(resolve, wait * 1000))
    }
  }
}

/**
 * A key that makes a repeated send harmless.
 *
 * @returns {string}
 */
export function newKey() {
  // Missing on pages without https, and in React Native.
  const { crypto } = /** @type {{ crypto?: { randomUUID?: () => string } }} */ (globalThis)
  const random = () => Math.random().toString(36).slice(2)
  return crypto?.randomUUID?.() ?? `${Date.now().toString(36)}-${random()}-${random()}`
}

/**
 * The row that is shown until the message is confirmed.
 *
 * @param {string} key
 * @param {Draft} draft
 * @returns {import("./rows.js").Message}
 */
export function placeholder(key, { content, targetType = "individual", conversationId, recipients }) {
  return {
    id: `sending:${key}`,
    content,
    status: "pending",
    version: 0,
    targetType,
    conversationId: conversationId ?? null,
    totalRecipients: recipients?.length ?? 0,
    deliveredCount: 0,
    failedCount: 0,
    unconfirmedCount: 0,
    readCount: 0,
    cancelledCount: 0,
    sentAt: null,
    createdAt: new Date().toISOString(),
    sending: true,
  }
}
