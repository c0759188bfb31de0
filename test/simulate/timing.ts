/** How long things took, counted in time in which a collector could have done something. */
import type { Oracle } from './oracle.ts'
import type { TrueRecord } from './truth.ts'
import type { Window } from './weather.ts'

export interface Tier {
  name: string
  /** Finds what becomes visible so late after its event time, ms. */
  reach: number
  /** How often it looks, ms. */
  every: number
  /** What it may take longer, of waking time, ms. */
  slack: number
}

/** ms of [from, to) in which a collector ran on a machine that was awake. */
export const awakeIn = (awake: readonly Window[], from: number, to: number): number =>
  awake.reduce((sum, window) => sum + Math.max(0, Math.min(window.to, to) - Math.max(window.from, from)), 0)

/** The first instant from `at` on in which a collector ran on a machine that was awake; Infinity: none. */
export const nextAwake = (awake: readonly Window[], at: number): number =>
  awake.reduce((first, window) => (window.to > at ? Math.min(first, Math.max(window.from, at)) : first), Infinity)

export interface Timed {
  record: TrueRecord
  /** How late it became visible, as far as it decides which scan finds it, ms. */
  late: number
  /** From this instant on it is looked for. */
  from: number
}

/** Every record against the first tier that can find it, tiers in order of reach. `calm`: nothing goes wrong, so the ages say something. */
export function checkTimes(oracle: Oracle, records: readonly Timed[], tiers: readonly Tier[], awake: readonly Window[], calm: boolean): void {
  for (const { record, late, from } of records) {
    const seen = oracle.firstSeen(record)
    const tier = tiers.find(({ reach }) => late <= reach)
    if (seen === undefined || tier === undefined) continue
    if (calm) oracle.took(tier.name, awakeIn(awake, from, seen))
    const waited = awakeIn(awake, from + tier.every, seen)
    if (waited > tier.slack) oracle.fault('too-late', `record ${record.n} took ${Math.round(waited / 1000)} s of waking time longer than the ${tier.name} scan may`)
  }
}

/** At most `most` in any `period` ms; one more because the period may begin with a request. `leaps`: a clock that leaps forgets what it has measured. */
export function checkRate(oracle: Oracle, calls: readonly number[], most: number, period: number, leaps: readonly number[]): void {
  let first = 0
  for (const [index, at] of calls.entries()) {
    while ((calls[first] ?? at) <= at - period) first++
    if (index - first < most + 1 || leaps.some((leap) => leap <= at && leap > at - 2 * period)) continue
    return oracle.fault('too-many-requests', `${index - first + 1} requests within ${period / 1000} s up to ${new Date(at).toISOString()}`)
  }
}
