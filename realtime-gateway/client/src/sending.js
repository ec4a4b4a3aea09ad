import { justAccepted } from "./rows.js"

/** @typedef {import("./rows.js").Message} Message */

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

/** What a user does with messages. A message that is being sent is among the rows before it is confirmed. */
export class Sending {
  #rest
  #messages
  /** @type {Set<Promise<unknown>>} */
  #underWay = new Set()

  /**
   * @param {import("./rest.js").Rest} rest
   * @param {import("./list.js").List<Message>} messages
   */
  constructor(rest, messages) {
    this.#rest = rest
    this.#messages = messages
  }

  /** Waits until no send is under way. */
  settled() {
    return Promise.allSettled(this.#underWay)
  }

  /**
   * @param {Draft} draft
   * @param {string} key
   */
  async send(draft, key) {
    const shown = this.#show(placeholder(draft))
    const request = { method: "POST", body: draft, headers: { "Idempotency-Key": key } }
    const sent = this.#rest.untilAnswered("/api/messages/send", request)
    this.#underWay.add(sent)
    try {
      return this.#accept(await sent)
    } finally {
      this.#underWay.delete(sent)
      this.#messages.remove(shown.id)
    }
  }

  /** @param {string} id */
  async cancel(id) {
    return (await this.#rest.untilAnswered(path(id), { method: "DELETE" })).data
  }

  /**
   * @param {string} id
   * @param {object} body
   */
  async retry(id, body) {
    return this.#accept(await this.#rest.untilAnswered(path(id, "/retry"), { method: "POST", body }))
  }

  /** @param {Message} message */
  #show(message) {
    // A clock that is behind must not hide it among older ones.
    const newest = this.#messages.rows[0]?.createdAt ?? ""
    const shown = { ...message, createdAt: newest > message.createdAt ? newest : message.createdAt }
    this.#messages.put(shown)
    return shown
  }

  /** @param {{ data: Omit<Message, "cancelledCount" | "sentAt"> }} answer */
  #accept({ data }) {
    const message = justAccepted(data)
    this.#messages.put(message)
    return this.#messages.get(message.id) ?? message
  }
}

/**
 * @param {string} id
 * @param {string} [action]
 */
export function path(id, action = "") {
  return `/api/messages/${encodeURIComponent(id)}${action}`
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
 * @param {Draft} draft
 * @returns {Message}
 */
function placeholder({ content, targetType = "individual", conversationId, recipients }) {
  return {
    id: `sending:${newKey()}`,
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
