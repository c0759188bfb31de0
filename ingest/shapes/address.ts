/** Client addresses as logs write them: with a port, in brackets, masked, as a chain of proxies, or not an address at all. */
import { isIP } from 'node:net'

export type Address =
  | { kind: 'address'; ip: string; prefix: number }
  /** Written like an address but none (leading zeros, octets above 255): kept as unknown and flagged. */
  | { kind: 'bad' }
  /** A name (a service, "unknown"). */
  | { kind: 'name'; name: string }

const LOOKS_NUMERIC = /^[\d.*xX]+$|^[\da-fA-F:.%]*:[\da-fA-F:.%]*$/
const MASKED = /^(\d{1,3}\.\d{1,3}\.\d{1,3})\.(\*+|x+)$/i
const MAPPED = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i
const WITH_PORT = /^(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}$/

/** Null for an empty or missing value. Of a chain (X-Forwarded-For) the first address counts: the client as the first proxy saw it. */
export function addressOf(value: unknown): Address | null {
  if (typeof value !== 'string') return null
  const comma = value.indexOf(',')
  let text = (comma === -1 ? value : value.slice(0, comma)).trim()
  if (text === '' || text.length > 255) return null
  if (text.startsWith('[')) text = text.slice(1, text.indexOf(']') === -1 ? undefined : text.indexOf(']'))
  text = WITH_PORT.exec(text)?.[1] ?? MAPPED.exec(text)?.[1] ?? text
  const version = isIP(text)
  if (version !== 0) return { kind: 'address', ip: text.replace(/%.*$/, '').toLowerCase(), prefix: version === 4 ? 32 : 128 }
  const masked = MASKED.exec(text)?.[1]
  if (masked !== undefined && isIP(`${masked}.0`) === 4) return { kind: 'address', ip: `${masked}.0`, prefix: 24 }
  return LOOKS_NUMERIC.test(text) ? { kind: 'bad' } : { kind: 'name', name: text }
}
