const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

/**
 * What the client reads in a token. Only the services verify it.
 *
 * @typedef {object} Claims
 * @property {string | undefined} owner The church and the user.
 * @property {number | undefined} exp When it ends, in Unix seconds.
 */

/**
 * The claims of a JWT. Those that can't be read are undefined.
 *
 * @param {string} token
 * @returns {Claims}
 */
export function claims(token) {
  try {
    const { churchId, userId, adminId, sub, exp } = JSON.parse(decoded(token.split(".")[1] ?? ""))
    return { owner: `${churchId}:${userId ?? adminId ?? sub}`, exp }
  } catch {
    return { owner: undefined, exp: undefined }
  }
}

/**
 * The text of a token's part. `atob` and `TextDecoder` are missing in older React Native.
 *
 * @param {string} part
 */
function decoded(part) {
  const bits = [...part].map((character) => ALPHABET.indexOf(character).toString(2).padStart(6, "0")).join("")
  const bytes = bits.match(/.{8}/g) ?? []
  return decodeURIComponent(bytes.map((byte) => `%${parseInt(byte, 2).toString(16).padStart(2, "0")}`).join(""))
}
