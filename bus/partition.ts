/**
 * Which partition a key lives in: murmur2 over UTF-8, as the Java and kafkajs clients do it, so that both buses and foreign
 * producers put one key into one partition.
 */

/** 0 … count - 1. */
export const partitionOf = (key: string, count: number): number => (count <= 1 ? 0 : (murmur2(Buffer.from(key, 'utf8')) & 0x7fffffff) % count)

const SEED = 0x9747b28c
const MIX = 0x5bd1e995

/** 32-bit murmur2 with the seed of Kafka's default partitioner. */
export function murmur2(bytes: Uint8Array): number {
  const length = bytes.length
  let hash = SEED ^ length
  let at = 0
  for (; at + 4 <= length; at += 4) {
    let word = byte(bytes, at) | (byte(bytes, at + 1) << 8) | (byte(bytes, at + 2) << 16) | (byte(bytes, at + 3) << 24)
    word = Math.imul(word, MIX)
    word = Math.imul(word ^ (word >>> 24), MIX)
    hash = Math.imul(hash, MIX) ^ word
  }
  const rest = length - at
  if (rest === 3) hash ^= byte(bytes, at + 2) << 16
  if (rest >= 2) hash ^= byte(bytes, at + 1) << 8
  if (rest >= 1) hash = Math.imul(hash ^ byte(bytes, at), MIX)
  hash = Math.imul(hash ^ (hash >>> 13), MIX)
  return hash ^ (hash >>> 15)
}

const byte = (bytes: Uint8Array, at: number): number => bytes[at] ?? 0
