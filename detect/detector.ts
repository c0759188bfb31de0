/**
 * Port of detectors: a fold. No clock, no I/O, no globals, no module state. `stream/runner.ts` owns event time, state,
 * timers, snapshots and the order of calls.
 *
 * The runner calls `step` once per event and key (in bus order, which is event-time order up to the allowed lateness), and
 * once per due `wake_at` with a tick. Ticks come after every event that the watermark has passed. The same inputs give the
 * same findings: ids are grid-aligned, so a re-read, a shuffle within the lateness or a crash cannot rename a finding.
 */
import type { PluginSpec } from '../runtime/plugin.ts'
import type { Finding } from '../schemas/findings.ts'
import type { TopicName, TopicValue } from '../schemas/topics.ts'

/** What the runner stamps: ids, wall times, freshness, backfill. A detector gives the rest. */
export type DetectedFinding = Omit<Finding, 'finding_id' | 'detector' | 'detector_version' | 'detected_at' | 'freshness' | 'run_id' | 'backfill'>

export interface DetectorContext<C> {
  config: C
  /** Event time: the watermark, epoch ms. Never the wall. */
  now: number
  /** Events behind the watermark that this key has got since it began (they are not folded into closed buckets). */
  late: number
  /** Event times [from, to) in which some stream was blind or silent: silence there is missing, not zero. */
  gaps: readonly (readonly [from: number, to: number])[]
}

export interface Step<S> {
  state: S
  findings: DetectedFinding[]
  /** Event time of the next tick that this key wants; replaces the earlier wish. Absent: none. */
  wake_at?: number
}

export type DetectorInput<T extends TopicName> = { event: TopicValue<T> } | { tick: number }

export interface DetectorSpec<T extends TopicName, S, C> extends PluginSpec<C> {
  version: string
  topics: readonly T[]
  /** MITRE ATT&CK / ATLAS / OWASP ids that its findings may carry. */
  attack: readonly string[]
  /** Entities that the event concerns ("key:fp_…", "address:…"); empty: not for this detector. */
  keys(event: TopicValue<T>): string[]
  /** `step` may mutate the state that it was given; undefined: first sight of this key. */
  step(state: S | undefined, input: DetectorInput<T>, key: string, context: DetectorContext<C>): Step<S>
  /** Snapshot of a state; decode(encode(s)) behaves like s. */
  encode(state: S): Uint8Array
  decode(bytes: Uint8Array): S
  /** A key without events for this many ms of event time is forgotten. Absent: six weeks. */
  forget_after_ms?(key: string): number
}
