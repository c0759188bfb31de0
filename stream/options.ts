/** Settings of the keyed runner, milliseconds where they are times. */
export interface RunnerOptions {
  /** Consumer group. */
  group: string
  /** Milliseconds that the watermark stays behind what the collectors have scanned. */
  lateness: number
  snapshot_interval: number
  /** A live stream without progress for this long (wall) no longer holds the watermark. */
  silent_after: number
  /** Findings whose last event is older than this (wall) are `backfill`. */
  backfill_after: number
  /** Keys with a decoded state in memory; more are evicted to the snapshot. */
  max_resident_keys: number
  /** A run without events or progress for this long (wall) is dropped: its collector died. */
  abandon_run_after: number
}

export const runnerDefaults: RunnerOptions = {
  group: 'detect',
  lateness: 120_000,
  snapshot_interval: 120_000,
  silent_after: 300_000,
  backfill_after: 3_600_000,
  max_resident_keys: 50_000,
  abandon_run_after: 86_400_000,
}
