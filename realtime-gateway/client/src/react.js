/**
 * Hooks for React 18 or newer. A component that uses one keeps the client started.
 *
 * @module
 */

import { useCallback, useEffect, useSyncExternalStore } from "react"

/** @typedef {import("./live.js").Live} Live */
/** @typedef {import("./rows.js").Message} Message */

/**
 * The messages, newest first, and what leads to older ones.
 *
 * @param {Live} live
 * @returns {{ messages: readonly Message[], hasMore: boolean, more: () => Promise<void> }}
 */
export function useMessages(live) {
  useStarted(live)
  const messages = useRows(live.messages)
  const more = useCallback(() => live.messages.more(), [live])
  return { messages, hasMore: live.messages.hasMore, more }
}

/**
 * One message; undefined as long as the client does not have it.
 *
 * @param {Live} live
 * @param {string} id
 * @returns {Message | undefined}
 */
export function useMessage(live, id) {
  useStarted(live)
  const subscribe = useCallback((/** @type {() => void} */ changed) => live.messages.subscribe(changed), [live])
  const read = () => live.messages.get(id)
  return useSyncExternalStore(subscribe, read, read)
}

/**
 * The texts that people sent to the church, newest first.
 *
 * @param {Live} live
 * @returns {{ texts: readonly import("./rows.js").Text[], hasMore: boolean, more: () => Promise<void> }}
 */
export function useReceived(live) {
  useStarted(live)
  const texts = useRows(live.received)
  const more = useCallback(() => live.received.more(), [live])
  return { texts, hasMore: live.received.hasMore, more }
}

/**
 * How the page gets its news.
 *
 * @param {Live} live
 * @returns {import("./state.js").State}
 */
export function useConnection(live) {
  useStarted(live)
  const subscribe = useCallback((/** @type {() => void} */ changed) => live.on("state", changed), [live])
  const read = () => live.state
  return useSyncExternalStore(subscribe, read, read)
}

/** @param {Live} live */
function useStarted(live) {
  useEffect(() => live.start(), [live])
}

/**
 * @template {{ id: string }} Row
 * @param {import("./list.js").List<Row>} list
 */
function useRows(list) {
  const subscribe = useCallback((/** @type {() => void} */ changed) => list.subscribe(changed), [list])
  const read = () => list.rows
  return useSyncExternalStore(subscribe, read, read)
}
