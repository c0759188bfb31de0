/** Findings as a detector would write them, and a clock that only moves when told. */
import { nameUuid } from '../../runtime/ids.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Finding } from '../../schemas/findings.ts'

export const MINUTE = 60_000
/** 2026-11-22T12:00:00Z */
export const NOON = Date.UTC(2026, 10, 22, 12)

export function findingOf(change: Partial<Finding> = {}): Finding {
  const detector = change.detector ?? 'token-spike'
  const entity = change.entity ?? 'key:fp_0123456789abcdef'
  const window_start = change.window_start ?? NOON
  return {
    finding_id: nameUuid(detector, entity, window_start),
    revision: 0,
    detector,
    detector_version: '1',
    entity,
    window_start,
    window_end: window_start + MINUTE,
    first_event_time: window_start + 1000,
    last_event_time: window_start + 50_000,
    detected_at: window_start + 55_000,
    severity: 'high',
    reason: 'rate-over-baseline',
    title: 'Key fp_0123456789abcdef uses 40 times its tokens',
    summary: 'Key fp_0123456789abcdef of team search used 400,000 tokens in a minute, 40 times what is usual at this hour.',
    attack: ['AML.T0034'],
    team_id: 'search',
    service: 'ranking',
    owner_ref: 'key:fp_0123456789abcdef',
    api_key_id: 'fp_0123456789abcdef',
    provider: 'openai',
    spend_usd_per_minute: '12.500000000000',
    spend_usd: '12.500000000000',
    evidence: { tokens: 400_000, usual: 10_000, models: ['gpt-4o'], minutes: [{ at: '12:00', tokens: 400_000 }] },
    baseline: { buckets: 96, from: NOON - 86_400_000, note: 'same hour of day' },
    freshness: { watermark: window_start + 50_000, completeness: 1, late: 0 },
    run_id: null,
    backfill: false,
    ...change,
  }
}

export interface ManualClock extends Clock {
  /** Moves time on and lets what was waiting run. */
  advance(ms: number): Promise<void>
}

export function manualClock(start = NOON): ManualClock {
  let now = start
  let sleepers: { at: number; wake: () => void }[] = []
  return {
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted) return resolve()
        const sleeper = { at: now + Math.max(0, ms), wake: resolve }
        sleepers.push(sleeper)
        signal?.addEventListener(
          'abort',
          () => {
            sleepers = sleepers.filter((other) => other !== sleeper)
            resolve()
          },
          { once: true },
        )
      }),
    advance: async (ms) => {
      const until = now + ms
      for (;;) {
        const due = sleepers.filter((sleeper) => sleeper.at <= until).sort((left, right) => left.at - right.at)[0]
        if (due === undefined) break
        now = Math.max(now, due.at)
        sleepers = sleepers.filter((sleeper) => sleeper !== due)
        due.wake()
        await new Promise((resolve) => setImmediate(resolve))
      }
      now = until
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}
