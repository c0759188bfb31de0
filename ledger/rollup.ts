/**
 * The rollup: rebuilds whole days of usage_15m and usage_daily from the deduplicated events and swaps them in by REPLACE PARTITION.
 *
 * Exact under any replay, because a day is a function of the set of its events and the prices. A partition carries the number of
 * marks (writes) that it was built from, so the work that is left is always read from the store: a crash at any point, a second
 * rollup at the same time or a slow insert leave a day that differs from its marks, and the next look rebuilds it.
 */
import type { Clock } from '../runtime/clock.ts'
import { messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { counter, gauge, histogram } from '../runtime/metrics.ts'
import { retry } from '../runtime/retry.ts'
import type { Store } from '../store/store.ts'
import { type DayState, markRepricedDays, priceProgress, type Queries, readDays } from './dirty-days.ts'
import { createStage, type Stage } from './rollup-stage.ts'

export { markDirty } from './dirty-days.ts'

export interface RollupOptions {
  /** Wait between two looks. */
  poll_ms: number
  /** A day is rebuilt once more this long after its last write: an insert becomes visible in the events and in its marks at slightly different moments. */
  settle_ms: number
  /** Least wait between two rebuilds of a day that is being written. */
  min_interval_ms: number
  /** Most share of the time that rebuilds of one day may take: 0.1 = after a rebuild of 1 s wait 9 s. */
  share: number
}

export interface RollupDeps {
  store: Store
  clock: Clock
  log: Logger
  options?: Partial<RollupOptions>
}

export const rollupDefaults: RollupOptions = { poll_ms: 1000, settle_ms: 10_000, min_interval_ms: 1000, share: 0.1 }

// For so long after its last write a day is compared again even if it was right: a slower second rollup could have replaced it by older sums.
const RECHECK_MS = 600_000
const MAX_TRIES = 20
// Where nothing was written for half a minute the look is taken less often: an idle installation should cost nothing.
const QUIET_LOOKS = 30
const QUIET_FACTOR = 5
const MAX_PAUSE_MS = 5000

const rebuilt = counter('tokenwatch_rollup_days_total', 'days rebuilt by the rollup')
const seconds = histogram(
  'tokenwatch_rollup_day_seconds',
  'time to rebuild one day (its share, where several were rebuilt together)',
  [],
  [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60],
)
const waiting = gauge('tokenwatch_rollup_dirty_days', 'days that differ from their events at the last look')

/** Runs until the signal aborts; the days in work are finished. Rejects when the store refuses for good. */
export async function runRollup({ store, clock, log, options }: RollupDeps, signal: AbortSignal): Promise<void> {
  const settings = { ...rollupDefaults, ...options }
  const stage = await createStage(store)
  const settled = new Map<string, string>()
  const pace = new Map<string, { started: number; duration: number }>()
  let quiet_looks = 0
  try {
    while (!signal.aborted) {
      const began = clock.now()
      const busy = await retry(() => look(stage, settings, { settled, pace }, log, signal), { clock, signal, log, what: 'the rollup', max_tries: MAX_TRIES })
      quiet_looks = busy ? 0 : quiet_looks + 1
      const poll_ms = settings.poll_ms * (quiet_looks > QUIET_LOOKS ? QUIET_FACTOR : 1)
      // A long pass is followed by as long a pause, so that inserts and questions get their share of the machine.
      await clock.sleep(Math.max(poll_ms, Math.min(clock.now() - began, MAX_PAUSE_MS)), signal)
    }
  } finally {
    await stage.drop().catch((error: unknown) => log.warn('the stage of the rollup could not be dropped', { error: messageOf(error) }))
  }
}

/** One pass over every day that differs from its events, without waiting for writes to settle. Resolves with the number of days rebuilt. */
export async function rebuildDirtyDays(store: Store, options: { signal?: AbortSignal } = {}): Promise<number> {
  const stage = await createStage(store)
  try {
    await markRepricedDays(store)
    const state = await readDays(store)
    const due = state.days.filter((day) => !day.built)
    if (due.length > 0) await reloadPrices(store)
    let done = 0
    for (const portion of await stage.portions(due)) {
      if (options.signal?.aborted) break
      await stage.rebuild(portion, state)
      done += portion.length
    }
    return done
  } finally {
    await stage.drop()
  }
}

/** Every write that was visible when asked is in both rollups, and every price change too. */
export async function isRollupCurrent(store: Queries): Promise<boolean> {
  const prices = await priceProgress(store)
  if (prices.stored > prices.done) return false
  return (await readDays(store)).days.every((day) => day.built)
}

interface Memory {
  /** Days whose partitions were right after they had settled, with their marks. */
  settled: Map<string, string>
  pace: Map<string, { started: number; duration: number }>
}

/** False: nothing was written lately. */
async function look(stage: Stage, settings: RollupOptions, { settled, pace }: Memory, log: Logger, signal: AbortSignal): Promise<boolean> {
  const { store } = stage
  await markRepricedDays(store)
  const state = await readDays(store, (day, now) => settled.get(day.day) !== day.marks || now - day.at < RECHECK_MS)
  const due: DayState[] = []
  let dirty = 0
  for (const day of state.days) {
    const quiet = state.now - day.at >= settings.settle_ms
    if (day.built && day.built_at !== null && day.built_at - day.at >= settings.settle_ms) {
      settled.set(day.day, day.marks)
      continue
    }
    if (!day.built) dirty += 1
    const last = pace.get(day.day)
    const since = last === undefined ? Infinity : state.now - last.started
    // Below zero the clock of the store was set back: waiting for it to catch up could take hours.
    const rested = since < 0 || since >= Math.max(settings.min_interval_ms, (last?.duration ?? 0) / settings.share)
    if (day.built ? quiet : rested) due.push(day)
  }
  waiting.set(dirty)
  if (due.length === 0) return dirty > 0
  await reloadPrices(store)
  for (const portion of await stage.portions(due)) {
    if (signal.aborted) return true
    const { rows, duration } = await stage.rebuild(portion, state)
    const each = duration / portion.length
    for (const { day } of portion) {
      pace.set(day, { started: state.now, duration: each })
      rebuilt.inc()
      seconds.observe(each / 1000)
    }
    log.debug('days rebuilt', { days: portion.map(({ day }) => day).join(' '), rows, duration_ms: duration })
  }
  return true
}

/** The dictionary is the truth of the rollup; without the reload it may be a minute behind the table. */
const reloadPrices = (store: Store): Promise<void> => store.command(`SYSTEM RELOAD DICTIONARY ${store.database}.price_dictionary`)
