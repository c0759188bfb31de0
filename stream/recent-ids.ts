/**
 * The ids folded last, per partition: the bus is at-least-once and collectors publish a page again after a crash, so copies
 * come close together. What comes again later than that stands behind the watermark and is not folded either.
 *
 * Ids are kept as 52-bit numbers cut from the UUID: with 16,384 of them the chance that a new event is taken for a copy is
 * below 4e-12, and a snapshot costs 8 bytes an id.
 */
export const RECENT_IDS = 16_384

export class RecentIds {
  readonly #ring: Float64Array
  readonly #set = new Set<number>()
  #next = 0

  constructor(capacity: number = RECENT_IDS) {
    this.#ring = new Float64Array(capacity).fill(-1)
  }

  /** False if the id was there already. */
  add(id: number): boolean {
    if (this.#set.has(id)) return false
    const old = this.#ring[this.#next] ?? -1
    if (old >= 0) this.#set.delete(old)
    this.#ring[this.#next] = id
    this.#set.add(id)
    this.#next = (this.#next + 1) % this.#ring.length
    return true
  }

  /** Oldest first. */
  encode(): Uint8Array {
    const count = this.#set.size
    const ids = new Float64Array(count)
    for (let i = 0; i < count; i++) ids[i] = this.#ring[(this.#next - count + i + this.#ring.length) % this.#ring.length] ?? 0
    return new Uint8Array(ids.buffer)
  }

  static decode(bytes: Uint8Array, capacity: number = RECENT_IDS): RecentIds {
    const recent = new RecentIds(capacity)
    const copy = bytes.slice()
    for (const id of new Float64Array(copy.buffer, 0, Math.floor(copy.byteLength / 8))) recent.add(id)
    return recent
  }
}

/** 52 bits of a UUID, moved by `salt` so that the same record in two runs is two records. */
export function shortId(uuid: string, salt: number): number {
  let high = 0
  let low = 0
  // 26 bits from the first seven digits, 26 from the last seven: both parts are hash output in our ids.
  for (let i = 0; i < 7; i++) high = (high << 4) | digit(uuid, i)
  for (let i = 29; i < 36; i++) low = (low << 4) | digit(uuid, i)
  high = ((high & 0x3ffffff) ^ (salt & 0x3ffffff)) >>> 0
  return high * 0x4000000 + ((low & 0x3ffffff) >>> 0)
}

function digit(text: string, index: number): number {
  const code = text.charCodeAt(index)
  return code >= 97 ? code - 87 : code - 48
}

/** FNV-1a over a run id; 0 for live. */
export function runSalt(run_id: string | null): number {
  if (run_id === null) return 0
  let hash = 0x811c9dc5
  for (let i = 0; i < run_id.length; i++) hash = Math.imul(hash ^ run_id.charCodeAt(i), 0x01000193)
  return (hash >>> 0) | 1
}
