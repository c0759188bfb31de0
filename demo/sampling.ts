/** Small distributions over an injected random source, and the line that waits for its time. */
import type { Random } from '../runtime/random.ts'

export interface TimedLine {
  at: number
  file: string
  /** Made when it is written: most of the cost of a history is JSON. */
  line: () => string
}

export function poisson(mean: number, random: Random): number {
  const limit = Math.exp(-mean)
  let count = 0
  for (let product = random(); product > limit; product *= random()) count++
  return count
}

export const pick = <T>(list: readonly T[], random: Random): T => list[Math.floor(random() * list.length)] as T

/** Log-normal with a long tail, cut at 12 times the median: one request may be large, none is absurd. */
export function tokensAround(median: number, random: Random): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  return Math.max(1, Math.round(median * Math.min(12, Math.exp(0.7 * normal))))
}
