/** What this source asks of AWS, and no more: sdk.ts does it with the SDK, the simulation with a model. One api is one account and region. */

export interface LogEvent {
  eventId: string
  /** The time that the writer gave it, epoch ms. */
  timestamp: number
  /** When CloudWatch took it, epoch ms; it may become visible to queries later still. */
  ingestionTime: number | null
  message: string
  logStreamName: string
}

export interface FilterRequest {
  group: string
  /** Event time, epoch ms; both ends are inclusive. */
  from: number
  to: number
  token?: string
  pattern?: string
}

/** At most 1 MB or 10,000 events in order of event time; may be empty while there is a token. Only no token is the end. */
export interface LogPage {
  events: LogEvent[]
  token?: string
}

/** Throws errors with the SDK's names (`ThrottlingException`, `ResourceNotFoundException` …); failures.ts reads them. It never retries. */
export interface CloudWatchApi {
  filterLogEvents(request: FilterRequest, signal: AbortSignal): Promise<LogPage>
  describeLogGroups(request: { prefix: string; token?: string }, signal: AbortSignal): Promise<{ names: string[]; token?: string }>
  /** IncomingLogEvents of the minutes in [from, to): minute (epoch ms) → events. A minute without a datapoint is absent. */
  incomingLogEvents(request: { group: string; from: number; to: number }, signal: AbortSignal): Promise<Map<number, number>>
}
