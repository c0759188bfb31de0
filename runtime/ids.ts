/** Name-based ids: the same parts give the same id on every machine, so a replay is a no-op. */
import { hash, randomUUID } from 'node:crypto'

/**
 * A UUID (version 8, RFC 9562: application-defined) from SHA-256 over the parts. Parts are length-prefixed,
 * so ('ab','c') and ('a','bc') differ; null and '' differ too.
 */
export function nameUuid(...parts: readonly (string | number | null)[]): string {
  let text = ''
  for (const part of parts) {
    const value = part === null ? null : String(part)
    text += value === null ? '-;' : `${value.length}:${value};`
  }
  const hex = hash('sha256', text, 'hex')
  const variant = ((Number.parseInt(hex[16] ?? '0', 16) & 0x3) | 0x8).toString(16)
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

export const sha256Hex = (data: string | Uint8Array): string => hash('sha256', data, 'hex')

/** A fresh id, for what people do (actions, runs); never for what a log says. */
export const freshUuid = (): string => randomUUID()
