/** Total reads of untrusted JSON: a value of the wrong type is absent, never a throw. */
import { plainText } from '../../runtime/text.ts'

export type Json = Record<string, unknown>

/** Deeper or wider input than this is not looked at: a hostile line costs bounded time. */
export const MAX_DEPTH = 3
export const MAX_NODES = 120
export const MAX_KEYS = 200
export const MAX_EMBEDDED_CHARS = 1_048_576

export const asObject = (value: unknown): Json | null => (typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : null)

/** The own property as an object; inherited names (`constructor`) are never read. */
export const objectAt = (from: Json, key: string): Json | null => (Object.hasOwn(from, key) ? asObject(from[key]) : null)

/** A non-empty text made safe to show and cut to `max`; numbers are written out, because ids and codes come as both. */
export function asLabel(value: unknown, max = 256): string | null {
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : null
  if (typeof value !== 'string' || value === '') return null
  // Cut before cleaning: a megabyte in a name costs nothing.
  const text = plainText(value.length > max ? value.slice(0, max + 1) : value, max).trim()
  return text === '' ? null : text
}

/** The first of the named own properties that is a non-empty text or a number, nearest object first. */
export function pickLabel(scopes: readonly Json[], keys: readonly string[], max = 256): string | null {
  for (const scope of scopes) {
    for (const key of keys) {
      const value = scope[key]
      if (value === undefined || value === null || !Object.hasOwn(scope, key)) continue
      const text = asLabel(value, max)
      if (text !== null) return text
    }
  }
  return null
}

/** The first of the named own properties that is a finite number or a text of one, nearest object first. */
export function pickNumber(scopes: readonly Json[], keys: readonly string[]): number | null {
  for (const scope of scopes) {
    for (const key of keys) {
      const value = scope[key]
      if (value === undefined || !Object.hasOwn(scope, key)) continue
      if (typeof value === 'number' && Number.isFinite(value)) return value
      if (typeof value === 'string' && /^\d{1,15}(\.\d+)?$/.test(value)) return Number(value)
    }
  }
  return null
}

/** The object inside a text, if the text is one and not longer than `max`; null otherwise. */
export function parseObject(text: string, max = MAX_EMBEDDED_CHARS): Json | null {
  if (text.length > max) return null
  try {
    return asObject(JSON.parse(text))
  } catch {
    return null
  }
}

/** Follows a JSON pointer (RFC 6901) without ever reading an inherited property. */
export function atPointer(root: unknown, pointer: string): unknown {
  let node = root
  for (const raw of pointer.split('/').slice(1)) {
    if (typeof node !== 'object' || node === null) return undefined
    const key = raw.replaceAll('~1', '/').replaceAll('~0', '~')
    if (!Object.hasOwn(node, key)) return undefined
    node = (node as Json)[key]
  }
  return node
}
