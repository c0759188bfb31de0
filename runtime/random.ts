/** Randomness is injected like time: seeded where a run must repeat, the system's elsewhere. */

/** A number in [0, 1). */
export type Random = () => number

export const systemRandom: Random = () => Math.random()

/** mulberry32: small, fast and good enough for jitter and made-up data; never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
