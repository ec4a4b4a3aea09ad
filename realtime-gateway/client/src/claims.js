/**
 * What the client reads in a token. Only the services verify it.
 *
 * @typedef {{ churchId?: string, userId?: string, exp?: number }} Claims
 */

/**
 * The claims of a JWT; empty if it can't be read.
 *
 * @param {string} token
 * @returns {Claims}
 */
export function claims(token) {
  try {
    const part = (token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/")
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0))
    const { churchId, userId, adminId, sub, exp } = JSON.parse(new TextDecoder().decode(bytes))
    return { churchId, userId: userId ?? adminId ?? sub, exp }
  } catch {
    return {}
  }
}
