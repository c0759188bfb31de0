/** The api with the AWS SDK: the only file here that knows it. No retries of its own: the collector's loop owns them. */
import { CloudWatchClient, GetMetricDataCommand } from '@aws-sdk/client-cloudwatch'
import { CloudWatchLogsClient, DescribeLogGroupsCommand, FilterLogEventsCommand } from '@aws-sdk/client-cloudwatch-logs'
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'
import type { CloudWatchApi, LogEvent } from './api.ts'
import { NonsenseError } from './failures.ts'

export interface SdkOptions {
  region: string
  /** One address for all three services: moto, a stand-in, a VPC endpoint. */
  endpoint?: string | undefined
  role_arn?: string | undefined
  external_id?: string | undefined
  /** A request without an answer for so long has failed. */
  timeout_ms?: number
}

// An answer holds 1 MB at most; AWS answers within seconds or not at all.
const TIMEOUT_MS = 60_000
const ROLE_SECONDS = 3_600
const MINUTE_S = 60

export function createApi({ region, endpoint, role_arn, external_id, timeout_ms = TIMEOUT_MS }: SdkOptions): CloudWatchApi {
  const base = {
    region,
    maxAttempts: 1,
    requestHandler: { requestTimeout: timeout_ms, throwOnRequestTimeout: true, connectionTimeout: 10_000 },
    ...(endpoint === undefined ? {} : { endpoint }),
  }
  const shared = role_arn === undefined ? base : { ...base, credentials: roleCredentials(new STSClient(base), role_arn, external_id) }
  const logs = new CloudWatchLogsClient(shared)
  const metrics = new CloudWatchClient(shared)
  return {
    filterLogEvents: async ({ group, from, to, token, pattern }, abortSignal) => {
      const output = await logs.send(new FilterLogEventsCommand({ logGroupName: group, startTime: from, endTime: to, nextToken: token, filterPattern: pattern, limit: 10_000 }), {
        abortSignal,
      })
      // An empty page still has its list. Something else that answers `{}` must not look like a group in which nothing happens.
      if (output.events === undefined && output.searchedLogStreams === undefined) throw new NonsenseError('no list of events')
      const events = (output.events ?? []).flatMap((event): LogEvent[] => {
        const { eventId, timestamp, ingestionTime, message, logStreamName } = event
        if (eventId === undefined || timestamp === undefined) return []
        return [{ eventId, timestamp, ingestionTime: ingestionTime ?? null, message: message ?? '', logStreamName: logStreamName ?? '' }]
      })
      return output.nextToken === undefined ? { events } : { events, token: output.nextToken }
    },
    describeLogGroups: async ({ prefix, token }, abortSignal) => {
      const output = await logs.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: prefix, nextToken: token }), { abortSignal })
      if (output.logGroups === undefined) throw new NonsenseError('no list of log groups')
      const names = output.logGroups.flatMap(({ logGroupName }) => logGroupName ?? [])
      return output.nextToken === undefined ? { names } : { names, token: output.nextToken }
    },
    incomingLogEvents: (request, abortSignal) => incomingLogEvents(metrics, request, abortSignal),
  }
}

async function incomingLogEvents(client: CloudWatchClient, { group, from, to }: { group: string; from: number; to: number }, abortSignal: AbortSignal) {
  const counts = new Map<number, number>()
  let token: string | undefined
  do {
    const output = await client.send(
      new GetMetricDataCommand({
        StartTime: new Date(from),
        EndTime: new Date(to),
        NextToken: token,
        MetricDataQueries: [
          {
            Id: 'incoming',
            MetricStat: { Metric: { Namespace: 'AWS/Logs', MetricName: 'IncomingLogEvents', Dimensions: [{ Name: 'LogGroupName', Value: group }] }, Period: MINUTE_S, Stat: 'Sum' },
          },
        ],
      }),
      { abortSignal },
    )
    if (output.MetricDataResults === undefined) throw new NonsenseError('no list of results')
    for (const { Timestamps = [], Values = [] } of output.MetricDataResults) {
      for (const [index, at] of Timestamps.entries()) counts.set(at.getTime(), Math.round(Values[index] ?? 0))
    }
    token = output.NextToken
  } while (token !== undefined)
  return counts
}

/** The SDK keeps what this gives until shortly before `expiration`, then asks again. */
const roleCredentials = (sts: STSClient, role_arn: string, external_id: string | undefined) => async () => {
  const { Credentials: given } = await sts.send(
    new AssumeRoleCommand({ RoleArn: role_arn, RoleSessionName: 'tokenwatch', DurationSeconds: ROLE_SECONDS, ...(external_id === undefined ? {} : { ExternalId: external_id }) }),
  )
  if (given?.AccessKeyId === undefined || given.SecretAccessKey === undefined)
    throw Object.assign(new Error(`STS gave no credentials for ${role_arn}`), { name: 'CredentialsProviderError' })
  return {
    accessKeyId: given.AccessKeyId,
    secretAccessKey: given.SecretAccessKey,
    ...(given.SessionToken === undefined ? {} : { sessionToken: given.SessionToken }),
    ...(given.Expiration === undefined ? {} : { expiration: given.Expiration }),
  }
}
