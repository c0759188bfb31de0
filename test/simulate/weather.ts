/** What goes wrong and when: a plan made of the seed, asked at every step. */
import type { Random } from '../../runtime/random.ts'

/** Half-open, true epoch ms. */
export interface Window {
  from: number
  to: number
}

export interface Storm extends Window {
  /** Share of the steps that it hits, 0 to 1. */
  share: number
}

export const within = (window: Window, now: number): boolean => now >= window.from && now < window.to

/** Uniform in [low, high). */
export const between = (random: Random, low: number, high: number): number => low + random() * (high - low)
/** Many small, few large: uniform in the logarithm. */
export const spread = (random: Random, low: number, high: number): number => Math.exp(between(random, Math.log(low), Math.log(high)))
export const whole = (random: Random, low: number, high: number): number => Math.floor(between(random, low, high + 1))
export const chance = (random: Random, share: number): boolean => random() < share
export function pick<T>(random: Random, list: readonly T[]): T {
  const found = list[Math.floor(random() * list.length)]
  if (found === undefined) throw new Error('nothing to pick from')
  return found
}

/** `count` storms somewhere in `span`, each lasting between `shortest` and `longest` ms. */
export const storms = (random: Random, span: Window, count: number, shortest: number, longest: number): Storm[] =>
  Array.from({ length: count }, () => {
    const from = between(random, span.from, span.to)
    return { from, to: from + spread(random, shortest, longest), share: chance(random, 0.4) ? 1 : between(random, 0.1, 0.9) }
  })

export const hits = (plan: readonly Storm[], now: number, random: Random): boolean => plan.some((storm) => within(storm, now) && chance(random, storm.share))
