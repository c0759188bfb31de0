/** Signatures of the Standard Webhooks specification 1.0: HMAC-SHA256 over `id.timestamp.body`, the exact bytes that are sent. */
import { createHmac } from 'node:crypto'
import { UsageError } from '../../runtime/errors.ts'

/** `whsec_` + base64 of 24 to 64 random bytes. Throws UsageError that never shows the value. */
export function signingKey(secret: string, where: string): Buffer {
  const text = secret.startsWith('whsec_') ? secret.slice(6) : ''
  const key = Buffer.from(text, 'base64')
  if (key.length < 24 || key.length > 64) throw new UsageError(`${where}: the secret must be whsec_ followed by base64 of 24 to 64 random bytes (openssl rand -base64 32)`)
  return key
}

/** `keys`: the current one first; more than one while receivers change over. `at`: milliseconds. */
export function signedHeaders(id: string, at: number, body: string, keys: readonly Buffer[]): Record<string, string> {
  const timestamp = String(Math.floor(at / 1000))
  const signatures = keys.map((key) => `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`, 'utf8').digest('base64')}`)
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') }
}
