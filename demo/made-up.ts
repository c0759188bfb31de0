/** Names and ids that derive from text, so that the same seed makes the same company, and an id needs no counter that somebody has to keep. */
import { createHash } from 'node:crypto'

/** 43 letters and digits. */
export const token = (text: string): string => createHash('sha256').update(text).digest('base64').replaceAll('+', 'P').replaceAll('/', 'S').replaceAll('=', '')

export const hex = (text: string, length: number): string => createHash('sha256').update(text).digest('hex').slice(0, length)

export const digits = (text: string, length: number): string =>
  BigInt(`0x${hex(text, 24)}`)
    .toString()
    .padStart(length, '7')
    .slice(-length)

export function guid(text: string): string {
  const raw = hex(`${text} guid`, 32)
  return `${raw.slice(0, 8)}-${raw.slice(8, 12)}-4${raw.slice(13, 16)}-a${raw.slice(17, 20)}-${raw.slice(20, 32)}`
}
