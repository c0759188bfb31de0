/**
 * Which window of event time to scan next. Pure: the same state and time give the same window.
 *
 * FilterLogEvents knows event time only, and an event may become visible long after its time (PutLogEvents takes 14 days). So a
 * window is never done with for good; four scans read it again, each less often and further back. Each starts an overlap before
 * the fixed end of its last complete run: what is visible at most `overlap` after its event time cannot slip between two runs,
 * because the part that the last run had left behind was wholly visible by then. Nothing is added to an end (no "+1 ms"), so
 * events of one millisecond that come in two goes are both seen; the id tells the one that was there.
 */
import { z } from 'zod'

export const scanState = z.object({
  /** Nothing before this event time is collected, epoch ms: the first start of this stream minus `start`. */
  floor: z.int(),
  hot_scanned_to: z.int(),
  warm_scanned_to: z.int(),
  cold_scanned_to: z.int(),
  deep_scanned_to: z.int(),
  /** Start of the first minute of ingestion time that is not compared with the metric yet. */
  last_reconciled_minute: z.int().nullable(),
  /** Every minute of ingestion time from here to that one agreed with the metric; null: not the last. */
  agreed_since: z.int().nullable().default(null),
  /** Events that CloudWatch had counted in the day before that minute, and that were not found. */
  missing: z.int().default(0),
  /** Hour → digest of what was published of it (digest.ts): lets a cold scan after a restart publish only what is new. */
  hours: z.record(z.string(), z.string()).default({}),
})
export type ScanState = z.infer<typeof scanState>

export type Tier = 'hot' | 'warm' | 'cold' | 'deep'
/** Both ends are inclusive, epoch ms of event time. */
export interface ScanWindow {
  tier: Tier
  from: number
  to: number
}

export interface ScanSettings {
  /** How often each scan runs, and how late an event may become visible to be found by it; ms. */
  every: Record<Tier, number>
  overlap: Record<Tier, number>
  /** The newest milliseconds are left for the next scan: they are still being written. */
  holdback: number
}

export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000
// After a restart a scan begins again, so what a stream has to catch up after an outage is scanned hour by hour.
const LONGEST_HOT = HOUR_MS
// Clocks that are set by a few minutes are everyday: the marks wait for the time to come.
const MOST_AHEAD = HOUR_MS
// What was found is compared slice by slice, and only a slice is repeated where a page token has expired.
const SLICE_HOURS = { warm: 1, cold: 3, deep: 12 } as const
const REREADS = ['deep', 'cold', 'warm'] as const
// A deep scan of a busy group takes hours: the warm one must not wait for it.
const OVERDUE = 1.2

export const firstState = (now: number, start: number): ScanState => {
  const floor = minuteOf(now - start)
  return {
    floor,
    hot_scanned_to: floor,
    warm_scanned_to: floor,
    cold_scanned_to: floor,
    deep_scanned_to: floor,
    last_reconciled_minute: null,
    agreed_since: null,
    missing: 0,
    hours: {},
  }
}

/** Marks that lie far ahead come from a clock that was wrong: they go back to now, or no rescan would be due for as long. The same state where none does. */
export function believable(state: ScanState, now: number, start: number): ScanState {
  if (state.hot_scanned_to <= now + MOST_AHEAD) return state
  return {
    floor: Math.min(state.floor, minuteOf(now - start)),
    hot_scanned_to: now,
    warm_scanned_to: Math.min(state.warm_scanned_to, now),
    cold_scanned_to: Math.min(state.cold_scanned_to, now),
    deep_scanned_to: Math.min(state.deep_scanned_to, now),
    last_reconciled_minute: null,
    agreed_since: null,
    missing: 0,
    hours: state.hours,
  }
}

/** The hot scan catches up after an outage, hour by hour. */
export const isBehind = (state: ScanState, now: number, settings: ScanSettings): boolean => now - settings.holdback - state.hot_scanned_to > LONGEST_HOT

/** The hot window that is due; undefined: not yet. `overlap` is the measured one, at least the configured. */
export function dueHot(state: ScanState, now: number, last_run: number, settings: ScanSettings, overlap: number): ScanWindow | undefined {
  if (!isBehind(state, now, settings) && now < last_run + settings.every.hot) return undefined
  const to = Math.min(now - settings.holdback, state.hot_scanned_to + LONGEST_HOT)
  if (to >= state.hot_scanned_to) return { tier: 'hot', from: startOf('hot', state, overlap), to }
  // The clock was set back: what comes now lies before the mark, which stays until its time is here again.
  return { tier: 'hot', from: Math.max(state.floor, minuteOf(to - overlap)), to: state.hot_scanned_to }
}

/**
 * The longest scan that is due, in whole minutes that the hot scan has passed. A longer scan does the work of the shorter ones;
 * while one is `running` only a shorter one that is overdue is due. While the hot scan catches up after an outage there is
 * nothing that it could not still see itself.
 */
export function dueReread(state: ScanState, now: number, settings: ScanSettings, running?: Tier): ScanWindow | undefined {
  if (isBehind(state, now, settings)) return undefined
  const to = minuteOf(state.hot_scanned_to) - 1
  const patience = running === undefined ? 1 : OVERDUE
  for (const tier of REREADS.slice(running === undefined ? 0 : REREADS.findIndex((each) => each === running) + 1)) {
    const from = startOf(tier, state, settings.overlap[tier])
    if (to - state[`${tier}_scanned_to`] >= settings.every[tier] * patience && from < to) return { tier, from, to }
  }
  return undefined
}

/** The state after a window was read to its end and published. Monotonic: no mark ever goes back. */
export function finished(state: ScanState, window: ScanWindow, settings: ScanSettings): ScanState {
  const next = { ...state }
  for (const tier of ['hot', ...REREADS] as const) {
    const mark = `${tier}_scanned_to` as const
    // A window that begins later (a rescan for a shortfall) has not done the work of the scan that it is named after.
    const covers = window.from <= startOf(tier, state, settings.overlap[tier]) && window.to >= state[mark]
    if (covers) next[mark] = Math.max(state[mark], window.to)
  }
  // Rereads stay within what the hot scan has passed: they never move its mark, whatever they cover.
  if (window.tier !== 'hot') next.hot_scanned_to = state.hot_scanned_to
  return next
}

/** Cuts a reread at whole hours. */
export function slicesOf({ tier, from, to }: ScanWindow): { from: number; to: number }[] {
  if (tier === 'hot') return [{ from, to }]
  const slices: { from: number; to: number }[] = []
  const step = SLICE_HOURS[tier] * HOUR_MS
  for (let start = from; start <= to;) {
    const end = Math.min(to, Math.floor(start / HOUR_MS) * HOUR_MS + step - 1)
    slices.push({ from: start, to: end })
    start = end + 1
  }
  return slices
}

export const minuteOf = (time: number): number => Math.floor(time / MINUTE_MS) * MINUTE_MS
export const hourOf = (time: number): number => Math.floor(time / HOUR_MS) * HOUR_MS

/** Whole minutes for the hot and warm scans, whole hours for those that compare hours. */
function startOf(tier: Tier, state: ScanState, overlap: number): number {
  const start = state[`${tier}_scanned_to`] - overlap
  return Math.max(state.floor, tier === 'hot' || tier === 'warm' ? minuteOf(start) : hourOf(start))
}
