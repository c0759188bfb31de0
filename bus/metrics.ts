/** What the bus counts; printed on /metrics. */
import { counter } from '../runtime/metrics.ts'

export const published = counter('tokenwatch_bus_published_total', 'Records that the bus acknowledged as durable', ['topic'])
export const consumed = counter('tokenwatch_bus_consumed_total', 'Records handed to a group and committed', ['topic', 'group'])
export const redeliveries = counter('tokenwatch_bus_redeliveries_total', 'Batches handed over again because the handler failed', ['topic', 'group'])
export const commitFailures = counter('tokenwatch_bus_commit_failures_total', 'Offset commits that were refused or failed; the batch is handed over again', ['group'])
export const rejected = counter('tokenwatch_bus_rejected_total', 'Records on the bus that do not fit their schema', ['topic', 'reason'])
