/**
 * The model over HTTP, so that the real SDK clients can be driven: CloudWatch Logs (AWS JSON 1.1), CloudWatch (AWS JSON 1.0) and
 * STS AssumeRole (query protocol), told apart by header as AWS does by host. Signatures are not checked; the access key names the
 * account: STS gives `ASIA<account>…`, every other key belongs to `account`. Virtual time: wrap the calls in `clock.outside`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { CloudWatchApi } from '../../../ingest/sources/cloudwatch-logs/api.ts'
import { createApi } from '../../../ingest/sources/cloudwatch-logs/sdk.ts'
import { isoTime, systemClock } from '../../../runtime/clock.ts'
import { CloudError, type CloudWatchModel } from './model.ts'

export interface ServedCloud {
  url: string
  /** Calls by action, STS included. */
  calls: Map<string, number>
  close(): Promise<void>
}

export interface CloudOptions {
  /** `<account>/<region>` → model. */
  places: ReadonlyMap<string, CloudWatchModel>
  /** Account of the credentials that are not from STS. */
  account?: string
  /** Roles that may be assumed, with the external id that they ask for; absent: every role. May be changed while served. */
  roles?: Map<string, string | undefined>
}

type Input = Record<string, unknown>

/** A cloud of several accounts and regions on 127.0.0.1. */
export async function serveCloud({ places, account = '000000000000', roles }: CloudOptions): Promise<ServedCloud> {
  const calls = new Map<string, number>()
  const server = createServer((request, response) => void answer(request, response))
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await textOf(request)
    const target = String(request.headers['x-amz-target'] ?? '')
    const action = target === '' ? (new URLSearchParams(body).get('Action') ?? '') : (target.split('.')[1] ?? '')
    calls.set(action, (calls.get(action) ?? 0) + 1)
    if (target === '') return assumeRole(new URLSearchParams(body), roles, response)
    const [, key = '', region = ''] = /Credential=([^/]+)\/\d+\/([^/]+)\//.exec(request.headers.authorization ?? '') ?? []
    const model = places.get(`${/^ASIA(\d{12})/.exec(key)?.[1] ?? account}/${region}`)
    const version = target.startsWith('Logs_') ? '1.1' : '1.0'
    try {
      if (model === undefined) throw new CloudError('UnrecognizedClientException', 'The security token included in the request is invalid.')
      send(response, 200, await dispatch(model, action, JSON.parse(body) as Input), version)
    } catch (error) {
      if (!(error instanceof CloudError)) throw error
      // No answer at all: the connection is cut.
      if (error.status === 0) request.socket.destroy()
      else send(response, error.status, { __type: error.name, message: error.message }, version)
    }
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** One model, and the api of the real SDK on it. */
export async function serveModel(model: CloudWatchModel): Promise<ServedCloud & { api: CloudWatchApi }> {
  const region = 'eu-west-1'
  giveCredentials()
  const cloud = await serveCloud({ places: new Map([[`000000000000/${region}`, model]]) })
  return { ...cloud, api: createApi({ region, endpoint: cloud.url }) }
}

/** What the default chain of the SDK finds first. */
export function giveCredentials(): void {
  process.env['AWS_ACCESS_KEY_ID'] ??= 'AKIATESTTESTTESTTEST'
  process.env['AWS_SECRET_ACCESS_KEY'] ??= 'only-for-tests'
}

const NEVER = new AbortController().signal

async function dispatch(model: CloudWatchModel, action: string, input: Input): Promise<Input> {
  if (action === 'FilterLogEvents') {
    const { logGroupName, startTime, endTime, nextToken, filterPattern } = input
    const request = { group: text(logGroupName), from: Number(startTime), to: Number(endTime) }
    const { events, token } = await model.filterLogEvents({ ...request, ...named('token', nextToken), ...named('pattern', filterPattern) }, NEVER)
    return { events, searchedLogStreams: [], ...named('nextToken', token) }
  }
  if (action === 'DescribeLogGroups') {
    const { names, token } = await model.describeLogGroups({ prefix: text(input['logGroupNamePrefix']), ...named('token', input['nextToken']) }, NEVER)
    return { logGroups: names.map((logGroupName) => ({ logGroupName })), ...named('nextToken', token) }
  }
  if (action === 'GetMetricData') return metricData(model, input)
  throw new CloudError('UnknownOperationException', action)
}

async function metricData(model: CloudWatchModel, { StartTime, EndTime, MetricDataQueries }: Input): Promise<Input> {
  const [query] = MetricDataQueries as { Id: string; MetricStat: { Metric: { Dimensions: { Value: string }[] } } }[]
  const group = query?.MetricStat.Metric.Dimensions[0]?.Value ?? ''
  const counts = await model.incomingLogEvents({ group, from: Number(StartTime) * 1000, to: Number(EndTime) * 1000 }, NEVER)
  // Newest first, as CloudWatch does by default.
  const points = [...counts].sort(([a], [b]) => b - a)
  return {
    MetricDataResults: [{ Id: query?.Id, Label: 'IncomingLogEvents', StatusCode: 'Complete', Timestamps: points.map(([at]) => at / 1000), Values: points.map(([, n]) => n) }],
    Messages: [],
  }
}

const SESSION_SECONDS = 3_600

function assumeRole(form: URLSearchParams, roles: CloudOptions['roles'], response: ServerResponse): void {
  const arn = form.get('RoleArn') ?? ''
  const namespace = 'https://sts.amazonaws.com/doc/2011-06-15/'
  if (roles !== undefined && (!roles.has(arn) || roles.get(arn) !== (form.get('ExternalId') ?? undefined))) {
    const message = `User: arn:aws:iam::000000000000:user/test is not authorized to perform: sts:AssumeRole on resource: ${arn}`
    response.writeHead(403, { 'content-type': 'text/xml' })
    response.end(`<ErrorResponse xmlns="${namespace}"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>${message}</Message></Error></ErrorResponse>`)
    return
  }
  const credentials = {
    AccessKeyId: `ASIA${arn.split(':')[4] ?? ''}`,
    SecretAccessKey: 'only-for-tests',
    SessionToken: 'session',
    Expiration: isoTime(systemClock.now() + SESSION_SECONDS * 1000),
  }
  const inner = Object.entries(credentials).map(([name, value]) => `<${name}>${value}</${name}>`)
  response.writeHead(200, { 'content-type': 'text/xml' })
  response.end(`<AssumeRoleResponse xmlns="${namespace}"><AssumeRoleResult><Credentials>${inner.join('')}</Credentials></AssumeRoleResult></AssumeRoleResponse>`)
}

function send(response: ServerResponse, status: number, value: Input, version: string): void {
  response.writeHead(status, { 'content-type': `application/x-amz-json-${version}` })
  response.end(JSON.stringify(value))
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')

const named = <K extends string>(name: K, value: unknown): { [P in K]?: string } => (typeof value === 'string' ? ({ [name]: value } as { [P in K]?: string }) : {})

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString('utf8')
}
