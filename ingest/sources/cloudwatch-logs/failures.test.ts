/** What can be wrong on the other side, through the real SDK: each is told apart, and the message says what to do. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { PermanentError, TransientError } from '../../../runtime/errors.ts'
import { silentLogger } from '../../../runtime/log.ts'
import { seededRandom } from '../../../runtime/random.ts'
import { CloudError, CloudWatchModel } from '../../../test/simulate/cloudwatch/model.ts'
import { type CloudOptions, giveCredentials, serveCloud, type ServedCloud } from '../../../test/simulate/cloudwatch/server.ts'
import { ManualClock } from '../../../test/support/ingest.ts'
import { createApi } from './sdk.ts'
import { cloudwatchLogs, cloudwatchSources } from './index.ts'

const NOW = Date.UTC(2026, 2, 2, 12)
const ROLE = 'arn:aws:iam::111122223333:role/tokenwatch'
const never = new AbortController().signal
const roles: NonNullable<CloudOptions['roles']> = new Map()
let model: CloudWatchModel
let theirs: CloudWatchModel
let cloud: ServedCloud

beforeAll(() => giveCredentials())
beforeEach(async () => {
  const clock = new ManualClock(NOW)
  model = new CloudWatchModel({ clock, random: seededRandom(1) })
  theirs = new CloudWatchModel({ clock, random: seededRandom(2) })
  for (const one of [model, theirs]) one.createGroup('/app/calls')
  roles.clear()
  roles.set(ROLE, 'word')
  const places = new Map([
    ['000000000000/eu-west-1', model],
    ['111122223333/eu-west-1', theirs],
  ])
  cloud = await serveCloud({ places, roles })
})
afterEach(() => cloud.close())

async function probe(config: Record<string, unknown> = {}): Promise<unknown> {
  const options = cloudwatchLogs.config.parse({
    regions: ['eu-west-1'],
    endpoint: cloud.url,
    ...(config['log_group_prefixes'] === undefined ? { log_groups: ['/app/calls'] } : {}),
    ...config,
  })
  const [source] = cloudwatchSources(options, { clock: new ManualClock(NOW), log: silentLogger }, (given) => createApi({ ...given, timeout_ms: 500 }))
  return source?.probe?.(never).then(
    () => 'fine',
    (error: unknown) => error,
  )
}

const failing = (name: string, message: string, status = 400): void => {
  model.intercept = () => {
    throw new CloudError(name, message, status)
  }
}

describe('a probe through the SDK', () => {
  it('is fine where everything is, with a role and its external id, too', async () => {
    expect(await probe()).toBe('fine')
    expect(await probe({ accounts: [{ role_arn: ROLE, external_id: 'word' }] })).toBe('fine')
    expect(theirs.stats.calls).toMatchObject({ FilterLogEvents: 1, GetMetricData: 1 })
    expect(await probe({ log_group_prefixes: ['/app/'] })).toBe('fine')
  })

  it.each([
    ['a group that is not there', () => model.deleteGroup('/app/calls'), /there is no log group \/app\/calls in eu-west-1.*create it, or correct/],
    [
      'no permission',
      () => failing('AccessDeniedException', 'User: x is not authorized to perform: logs:FilterLogEvents on resource: y'),
      /may not call logs:FilterLogEvents.*allow logs:FilterLogEvents in its IAM policy/,
    ],
    ['no permission, and AWS does not name it', () => failing('AccessDeniedException', 'no'), /allow logs:FilterLogEvents/],
    ['no permission for the metric', () => void (model.faults.metrics_denied = true), /allow cloudwatch:GetMetricData/],
    ['credentials that have expired', () => failing('ExpiredTokenException', 'The security token included in the request is expired'), /have expired: renew them/],
    [
      'wrong credentials',
      () => failing('UnrecognizedClientException', 'The security token included in the request is invalid.'),
      /does not know these credentials.*check the access key, and that the region is enabled/,
    ],
    ['something else that cannot be', () => failing('ValidationException', 'this class of log group cannot be filtered'), /refuses logs:FilterLogEvents.*this class of log group/],
  ])('%s', async (_name, arrange, message) => {
    arrange()
    const error = await probe()
    expect(error).toBeInstanceOf(PermanentError)
    expect((error as Error).message).toMatch(message)
  })

  it('a role that was revoked, or asks for another external id', async () => {
    const error = await probe({ accounts: [{ role_arn: ROLE, external_id: 'wrong' }] })
    expect(error).toBeInstanceOf(PermanentError)
    expect((error as Error).message).toMatch(/role arn:aws:iam::111122223333:role\/tokenwatch may not be assumed: allow sts:AssumeRole.*trust policy/)
  })

  it('a prefix that nothing begins with', async () => {
    expect(String(await probe({ log_group_prefixes: ['/nothing/'] }))).toMatch(/no log group in eu-west-1 begins with \/nothing\//)
  })

  it('no credentials at all', async () => {
    const names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY']
    const kept = names.map((name) => process.env[name])
    const nowhere = { AWS_EC2_METADATA_DISABLED: 'true', AWS_CONFIG_FILE: '/nowhere', AWS_SHARED_CREDENTIALS_FILE: '/nowhere' }
    try {
      for (const name of names) delete process.env[name]
      Object.assign(process.env, nowhere)
      const error = await probe()
      expect(error).toBeInstanceOf(PermanentError)
      expect((error as Error).message).toMatch(/no AWS credentials for eu-west-1: give them by environment/)
    } finally {
      for (const [index, name] of names.entries()) process.env[name] = kept[index]
      for (const name of Object.keys(nowhere)) delete process.env[name]
    }
  })

  it.each([
    ['too many requests', 'ThrottlingException', 400, /too many requests/],
    ['an error of the cloud', 'InternalFailure', 500, /failed on \/app\/calls/],
    ['a cut connection', 'TimeoutError', 0, /cannot be reached.*region or endpoint is spelt right/],
  ])('%s: asked again later, and never by the SDK itself', async (_name, name, status, message) => {
    failing(name, 'no', status)
    const error = await probe()
    expect(error).toBeInstanceOf(TransientError)
    expect((error as Error).message).toMatch(message)
    expect(cloud.calls.get('FilterLogEvents')).toBe(1)
  })
})

describe('an endpoint', () => {
  let silent: Server
  beforeAll(async () => {
    silent = createServer(() => undefined)
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  })
  afterAll(() => {
    silent.closeAllConnections()
    silent.close()
  })

  it('that never answers is given up', async () => {
    const error = await probe({ endpoint: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` })
    expect(error).toBeInstanceOf(TransientError)
    expect((error as Error).message).toMatch(/cannot be reached/)
  })

  it.each([
    [200, '<html>Sign in</html>', PermanentError, /answered nonsense to logs:FilterLogEvents on \/app\/calls: check `endpoint`.*proxy/],
    [403, '<html>Forbidden</html>', PermanentError, /answered nonsense/],
    [200, '{}', PermanentError, /answered nonsense/],
    [200, '', PermanentError, /answered nonsense/],
    [502, '<html>Bad Gateway</html>', TransientError, /failed on \/app\/calls/],
  ])('that answers %i %s', async (status, body, kind, message) => {
    const other = createServer((_request, response) => void response.writeHead(status).end(body))
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    try {
      const error = await probe({ endpoint: `http://127.0.0.1:${(other.address() as AddressInfo).port}` })
      expect(error).toBeInstanceOf(kind)
      expect((error as Error).message).toMatch(message)
    } finally {
      other.closeAllConnections()
      other.close()
    }
  })

  it('that is not there', async () => {
    const error = await probe({ endpoint: 'http://127.0.0.1:9' })
    expect(error).toBeInstanceOf(TransientError)
    expect((error as Error).message).toMatch(/eu-west-1 cannot be reached \(.*ECONNREFUSED/)
  })

  it('that does not exist as a name', async () => {
    expect(String(await probe({ endpoint: 'http://logs.eu-west-1.invalid' }))).toMatch(/cannot be reached/)
  })
})
