// Verifies Telnyx's signature (Ed25519 over `timestamp|body`) on libuv's threads, beside the event loop.

import { createPublicKey, verify } from 'node:crypto'
import { promisify } from 'node:util'

const verified = promisify(verify)
// DER of an Ed25519 public key, up to the key itself.
const PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
const TOLERANCE_SECONDS = 300

/** A function that tells whether a request with this raw body is Telnyx's. `publicKey` is base64 of 32 bytes. */
export function verifier(publicKey) {
  const der = Buffer.concat([PREFIX, Buffer.from(publicKey, 'base64')])
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
  return async (headers, body) => {
    const timestamp = headers['telnyx-timestamp']
    const signature = headers['telnyx-signature-ed25519']
    if (!/^\d+$/.test(timestamp) || !signature || !Buffer.isBuffer(body)) return false
    if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) return false
    const signed = Buffer.concat([Buffer.from(`${timestamp}|`), body])
    return verified(null, signed, key, Buffer.from(signature, 'base64'))
  }
}
