/**
 * What the keyed runner runs: a fold per key. `detect/detector.ts` is the port that detectors are written against; this is
 * the part of it that the runner needs, so that `stream/` does not import the rooms that stand on it.
 */
import type { Finding } from '../schemas/findings.ts'
import type { TopicName, TopicValue } from '../schemas/topics.ts'

/** Topics whose records carry the event header (event_id, event_time, run_id, revision). */
export type EventTopic = 'usage.v1' | 'secret-access.v1' | 'credential-change.v1'
export const eventTopics: readonly EventTopic[] = ['usage.v1', 'secret-access.v1', 'credential-change.v1']

export type FoldedFinding = Omit<Finding, 'finding_id' | 'detector' | 'detector_version' | 'detected_at' | 'freshness' | 'run_id' | 'backfill'>

export interface FoldContext {
  config: unknown
  /** Event time. For an event: the watermark (-Infinity before the first progress). For a tick: the time it was wanted for. */
  now: number
  late: number
  gaps: readonly (readonly [from: number, to: number])[]
}

export interface Fold {
  id: string
  version: string
  topics: readonly TopicName[]
  keys(event: TopicValue<EventTopic>): string[]
  step(
    state: unknown,
    input: { event: TopicValue<EventTopic> } | { tick: number },
    key: string,
    context: FoldContext,
  ): { state: unknown; findings: FoldedFinding[]; wake_at?: number }
  encode(state: unknown): Uint8Array
  decode(bytes: Uint8Array): unknown
  /** A key without events for this many ms of event time is forgotten. Absent: FORGET_AFTER_MS. */
  forget_after_ms?(key: string): number
}

/** A fold with its configuration: what the registry hands to the runner. */
export interface ConfiguredFold {
  spec: Fold
  config: unknown
}

/** Six weeks: a key of a monthly job is still known when it comes back. */
export const FORGET_AFTER_MS = 42 * 86_400_000
