/**
 * The rows that a page shows, as message-api gives them.
 *
 * @typedef {import("./events.js").MessageStatus} MessageStatus
 */

/**
 * A message.
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {string} content
 * @property {MessageStatus} status
 * @property {number} version Rises with every change.
 * @property {string} targetType
 * @property {string | null} conversationId
 * @property {string} [retryOf] The message that it retries.
 * @property {number} totalRecipients
 * @property {number} deliveredCount
 * @property {number} failedCount
 * @property {number} unconfirmedCount
 * @property {number} readCount
 * @property {number} cancelledCount Among the failed ones.
 * @property {string} [failureReason]
 * @property {string | null} sentAt
 * @property {string} createdAt
 * @property {true} [sending] It was given to `send` and is not confirmed yet.
 */

/**
 * A recipient of a message.
 *
 * @typedef {object} Recipient
 * @property {string} id
 * @property {{ id: string | null, firstName: string | null, lastName: string | null, phone: string }} member
 * @property {MessageStatus} status
 * @property {string | null} deliveredAt
 * @property {string | null} failedAt
 * @property {string | null} failureReason
 * @property {string | null} failureCode
 */

/**
 * A text that somebody sent to the church. It never changes.
 *
 * @typedef {object} Text
 * @property {string} id
 * @property {string} receivedAt
 * @property {string} from
 * @property {string} text
 * @property {number} mediaCount
 * @property {"stop" | "start" | "help"} [optOut]
 */

/**
 * The message after an event.
 *
 * @param {Message} known
 * @param {import("./events.js").MessageEvent} event
 * @returns {Message}
 */
export function applied(known, event) {
  const { failureReason: _, ...kept } = known
  return {
    ...kept,
    status: event.status,
    version: event.version,
    totalRecipients: event.recipientCount,
    deliveredCount: event.deliveredCount,
    failedCount: event.failedCount,
    unconfirmedCount: event.unconfirmedCount,
    readCount: event.readCount,
    cancelledCount: event.cancelledCount ?? 0,
    ...(event.failureReason === undefined ? {} : { failureReason: event.failureReason }),
  }
}

/**
 * The message of an answer to `send` or `retry`, which lacks what only happens later.
 *
 * @param {Omit<Message, "cancelledCount" | "sentAt">} accepted
 * @returns {Message}
 */
export function justAccepted(accepted) {
  return { ...accepted, cancelledCount: 0, sentAt: null }
}

/**
 * Newest first; the id, which rises with time, decides between two of the same moment.
 *
 * @param {Message} a
 * @param {Message} b
 */
export function newestMessageFirst(a, b) {
  return compare(b.createdAt, a.createdAt) || compare(b.id, a.id)
}

/**
 * @param {Text} a
 * @param {Text} b
 */
export function newestTextFirst(a, b) {
  return compare(b.receivedAt, a.receivedAt) || compare(b.id, a.id)
}

/**
 * @param {string} a
 * @param {string} b
 */
function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0
}
