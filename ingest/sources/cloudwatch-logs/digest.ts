/** The digest of a set of events: how many, and two sums over hashes of their ids. Order does not matter, digests can be added. */

export interface Digest {
  n: number
  a: number
  b: number
}

export const emptyDigest = (): Digest => ({ n: 0, a: 0, b: 0 })

/** Adds an id; two independent 32-bit sums make a false match of two sets a 2^-64 chance. */
export function addId(digest: Digest, id: string): void {
  hashId(id, hashes)
  digest.n++
  // Signed: V8 keeps 32-bit integers in place, larger numbers as an object each.
  digest.a = (digest.a + (hashes[0] ?? 0)) | 0
  digest.b = (digest.b + (hashes[1] ?? 0)) | 0
}

/** Two hashes of an id, never both 0. */
export function hashId(id: string, into: Int32Array): void {
  // The mixing of cyrb53: two multiplicative hashes in one pass over the text.
  let first = 0xdeadbeef
  let second = 0x41c6ce57
  for (let index = 0; index < id.length; index++) {
    const code = id.charCodeAt(index)
    first = Math.imul(first ^ code, 2_654_435_761)
    second = Math.imul(second ^ code, 1_597_334_677)
  }
  first = Math.imul(first ^ (first >>> 16), 2_246_822_507) ^ Math.imul(second ^ (second >>> 13), 3_266_489_909)
  second = Math.imul(second ^ (second >>> 16), 2_246_822_507) ^ Math.imul(first ^ (first >>> 13), 3_266_489_909)
  into[0] = first
  into[1] = first === 0 && second === 0 ? 1 : second
}

const hashes = new Int32Array(2)

export function addDigest(sum: Digest, part: Digest): void {
  sum.n += part.n
  sum.a = (sum.a + part.a) | 0
  sum.b = (sum.b + part.b) | 0
}

export const sameDigest = (one: Digest, other: Digest): boolean => one.n === other.n && one.a === other.a && one.b === other.b

export const encodeDigest = ({ n, a, b }: Digest): string => `${n.toString(36)}.${a.toString(36)}.${b.toString(36)}`

/** undefined for a text that is no digest. */
export function decodeDigest(text: string): Digest | undefined {
  const [n, a, b] = text.split('.').map((part) => Number.parseInt(part, 36))
  return n === undefined || a === undefined || b === undefined || Number.isNaN(n + a + b) ? undefined : { n, a, b }
}
