/**
 * A church's messages, live: `connect` makes the client, `church-live/react` has the hooks.
 *
 * @module
 */

/** @typedef {import("./live.js").Live} Live */
/** @typedef {import("./live.js").Options} Options */
/** @typedef {import("./live.js").LiveEvents} LiveEvents */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").StateName} StateName */
/** @typedef {import("./rows.js").Message} Message */
/** @typedef {import("./rows.js").Recipient} Recipient */
/** @typedef {import("./rows.js").Text} Text */
/** @typedef {import("./sending.js").Draft} Draft */
/**
 * @template {{ id: string }} Row
 * @typedef {import("./list.js").List<Row>} List
 */

export { connect } from "./live.js"
export { RequestFailed, SignedOut } from "./errors.js"
