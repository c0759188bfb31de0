/** The address of an event: where it is, and how much of it is kept. */
import { parseAddress, truncated } from './address.ts'
import type { Geo, Place } from './enrich.ts'
import { createRecent } from './recent.ts'

export interface Located {
  /** As it may be stored: truncated if the operator wants that, while the place is that of the whole address. Absent: no address. */
  ip?: { text: string; prefix: number }
  place?: Place
}

/** `prefix`: how many bits the format knows to be right. What is no address is flagged `bad-address`. */
export type Locator = (client_ip: string | null, prefix: number | null, flags: string[]) => Located

const NOWHERE: Located = {}
const KNOWN = 16_384
/** What formats say: all bits, or those of a masked last octet. */
const PREFIXES = [null, 24, 32, 128]

export function createLocator(geo: Geo, truncate_ip: 'none' | '/24+/48'): Locator {
  const known = new Map(PREFIXES.map((prefix) => [prefix, createRecent<string, Located>(KNOWN)]))
  return (client_ip, prefix, flags) => {
    if (client_ip === null || client_ip === '') return NOWHERE
    const clients = known.get(prefix)
    const before = clients?.get(client_ip)
    if (before !== undefined) return before
    const address = parseAddress(client_ip, prefix)
    if (address === undefined) {
      flags.push('bad-address')
      return NOWHERE
    }
    const kept = truncate_ip === '/24+/48' ? truncated(address) : address
    const located: Located = { ip: { text: kept.text, prefix: kept.prefix }, place: geo.lookup(address) }
    clients?.set(client_ip, located)
    return located
  }
}
