/** What the runner tells Prometheus. */
import { counter, gauge, histogram } from '../runtime/metrics.ts'

export const runnerMetrics = {
  events: counter('tokenwatch_detect_events_total', 'Events handed to the detectors, by what became of them', ['topic', 'outcome']),
  findings: counter('tokenwatch_detect_findings_total', 'Findings published, revisions included', ['detector', 'severity']),
  failures: counter('tokenwatch_detect_failures_total', 'Events that a detector could not take; they are on rejects.v1', ['detector']),
  ticks: counter('tokenwatch_detect_ticks_total', 'Timers run'),
  keys: gauge('tokenwatch_detect_keys', 'Keys with state in memory', ['detector']),
  watermark: gauge('tokenwatch_detect_watermark_seconds', 'Event time of the live watermark, Unix seconds'),
  pending: gauge('tokenwatch_detect_pending_progress', 'Progress records that wait until what stood before them is folded'),
  unowned: gauge('tokenwatch_detect_partitions_unowned', 'Partitions that another detect process holds: must be 0'),
  fold: histogram('tokenwatch_detect_batch_seconds', 'Time to fold and publish one batch', [], [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10]),
  snapshot: histogram('tokenwatch_detect_snapshot_seconds', 'Time to write one snapshot', [], [0.005, 0.02, 0.1, 0.5, 2, 10]),
}
