/** Words that the detectors' sentences share. The full ids stand in the finding's fields; a sentence is for people. */
import { shortUsd } from './money.ts'

/** "The key of indexer", "Key fp_0123abcd…", "Address 192.0.2.1", "arn:… "; the beginning of a sentence. */
export function subjectOf(entity: string, service: string | null): string {
  const [, kind = '', id = entity] = /^(key|address|actor):(.*)$/s.exec(entity) ?? []
  if (kind === 'address') return `Address ${id}`
  if (kind === 'actor') return id
  if (service !== null) return `The key of ${service}`
  return kind === 'key' ? `Key ${id.length > 16 ? `${id.slice(0, 11)}…` : id}` : id
}

/** "3 requests", "1 request". */
export const counted = (amount: number, noun: string): string => `${amount} ${noun}${amount === 1 ? '' : 's'}`

/** "12.34 USD"; what rounds to nothing is "under 0.01 USD", because it is not nothing. */
export const dollars = (pico: bigint): string => (pico > 0n && pico < 5_000_000_000n ? 'under 0.01 USD' : `${shortUsd(pico)} USD`)
