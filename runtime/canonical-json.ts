/**
 * One text per value (RFC 8785, JSON Canonicalization Scheme): keys sorted by UTF-16 code units, no white space, numbers and
 * strings as ECMAScript writes them. What is hashed or signed goes through here.
 */

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined }

/** Members that are undefined are left out. Throws TypeError for NaN, infinities, bigint, functions and undefined items of a list. */
export function canonicalJson(value: unknown): string {
  return write(value as Json)
}

function write(value: Json): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError('canonical JSON has no NaN and no infinities')
    return JSON.stringify(value)
  }
  if (Array.isArray(value)) return `[${value.map((item: Json) => write(item)).join(',')}]`
  if (typeof value !== 'object') throw new TypeError(`canonical JSON cannot hold a ${typeof value}`)
  const object = value as { readonly [key: string]: Json | undefined }
  // The default sort of strings compares UTF-16 code units, which is what the RFC asks for.
  const members = Object.keys(object)
    .filter((key) => object[key] !== undefined)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${write(object[key] as Json)}`)
  return `{${members.join(',')}}`
}
