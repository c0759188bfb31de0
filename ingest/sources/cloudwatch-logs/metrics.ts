/** What the collector's loop cannot see: requests, and the cloud's delay beside ours. */
import { counter, gauge, histogram } from '../../../runtime/metrics.ts'

const SECONDS = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 86_400]
const labels = ['stream'] as const

export const cloudwatchMetrics = {
  requests: counter('tokenwatch_cloudwatch_requests_total', 'requests to CloudWatch, by scan and outcome', ['stream', 'scan', 'outcome'] as const),
  throttled: counter('tokenwatch_cloudwatch_throttled_total', 'requests that CloudWatch refused as too many', labels),
  share: gauge('tokenwatch_cloudwatch_requests_per_second', 'the pace that the quota allows at the moment', labels),
  visible: histogram('tokenwatch_cloudwatch_visibility_seconds', 'when an event was first seen − event time: how late the cloud is', labels, SECONDS),
  cloudDelay: histogram('tokenwatch_cloudwatch_cloud_delay_seconds', 'ingestion time − event time: the part of the writer and the cloud', labels, SECONDS),
  ourDelay: histogram('tokenwatch_cloudwatch_our_delay_seconds', 'time of reading − ingestion time: our part', labels, SECONDS),
  lateFinds: counter('tokenwatch_cloudwatch_late_finds_total', 'events found behind the fixed end of an earlier scan', ['stream', 'scan'] as const),
  overlap: gauge('tokenwatch_cloudwatch_overlap_seconds', 'how far the hot scan goes back, after the measured lateness', labels),
  republished: counter('tokenwatch_cloudwatch_republished_total', 'events published once more by a rescan that could not tell which were new', labels),
  suppressed: counter('tokenwatch_cloudwatch_suppressed_total', 'events read again and not published again', labels),
  completeness: gauge('tokenwatch_cloudwatch_completeness', 'events held / IncomingLogEvents over the last day', labels),
}
