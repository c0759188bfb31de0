/** The shipped source with the real SDK against moto: groups, streams, a role of another account, a restart, CloudTrail records. */
import { CloudWatchLogsClient, CreateLogGroupCommand, CreateLogStreamCommand, PutLogEventsCommand } from '@aws-sdk/client-cloudwatch-logs'
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'
import { readFileSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCollector } from '../../ingest/collector.ts'
import { createFormats } from '../../ingest/formats/index.ts'
import { createPipeline } from '../../ingest/pipeline.ts'
import { createSources, sourcesConfig } from '../../ingest/sources/index.ts'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import { callPipeline } from '../simulate/cloudwatch/collect.ts'
import { giveCredentials } from '../simulate/cloudwatch/server.ts'
import { MemoryBus, MemoryState, noPrices } from '../support/ingest.ts'
import { startMoto, type TestMoto } from '../support/moto/moto.ts'
import { needs } from '../support/needs.ts'
import { eventually, runToEnd } from '../support/process.ts'

const REGION = 'eu-west-1'
const ROLE = 'arn:aws:iam::111122223333:role/tokenwatch'
const QUICK = { hot: { every: '300ms' }, quota: 50, quota_share: 1 }

describe.skipIf(!needs('moto', 6))('CloudWatch Logs of moto', () => {
  let moto: TestMoto
  let logs: CloudWatchLogsClient
  beforeAll(async () => {
    giveCredentials()
    moto = await startMoto()
    logs = new CloudWatchLogsClient({ region: REGION, endpoint: moto.url })
  })
  afterAll(() => moto.stop())

  const call = (name: string, time: number): string => JSON.stringify({ call: name, time, tokens: 7 })

  async function write(group: string, lines: readonly { stream: string; message: string; time: number }[], client = logs): Promise<void> {
    await client.send(new CreateLogGroupCommand({ logGroupName: group })).catch(() => undefined)
    for (const stream of new Set(lines.map((line) => line.stream))) {
      await client.send(new CreateLogStreamCommand({ logGroupName: group, logStreamName: stream })).catch(() => undefined)
      const events = lines.filter((line) => line.stream === stream).map(({ message, time }) => ({ message, timestamp: time }))
      await client.send(new PutLogEventsCommand({ logGroupName: group, logStreamName: stream, logEvents: events }))
    }
  }

  /** Collects until `enough`, then stops as a process does. */
  async function collect(config: Record<string, unknown>, world: { bus: MemoryBus; state: MemoryState }, enough: () => boolean, pipeline = callPipeline): Promise<void> {
    const stop = new AbortController()
    const context = { clock: systemClock, log: silentLogger }
    const sources = await createSources(sourcesConfig.parse([{ id: 'aws', kind: 'cloudwatch-logs', regions: [REGION], endpoint: moto.url, ...QUICK, ...config }]), context)
    const running = runCollector({ sources, pipeline, bus: world.bus.bus, state: world.state, ...context }, stop.signal)
    await eventually('everything is collected', enough).finally(() => stop.abort())
    await running
  }

  const fresh = () => ({ bus: new MemoryBus(), state: new MemoryState() })

  it('several groups and streams, by name and by prefix', async () => {
    const now = systemClock.now()
    const line = (group: string, n: number) => ({ stream: `stream-${n % 3}`, time: now - 60_000 + n * 100, message: call(`${group}-${n}`, now - 60_000 + n * 100) })
    for (const group of ['/one/a', '/many/b', '/many/c'])
      await write(
        group,
        Array.from({ length: 250 }, (_, n) => line(group, n)),
      )
    const world = fresh()
    await collect({ log_groups: ['/one/a'], log_group_prefixes: ['/many/'] }, world, () => world.bus.of('usage.v1').length >= 750)
    const events = world.bus.of('usage.v1')
    expect(new Set(events.map(({ event_id }) => event_id)).size).toBe(750)
    expect(events.length).toBe(750)
    expect(new Set(events.map(({ source_stream }) => source_stream))).toEqual(new Set(['default/eu-west-1//one/a', 'default/eu-west-1//many/b', 'default/eu-west-1//many/c']))
    expect(events.every(({ delivered_time }) => delivered_time !== null && delivered_time >= now - 1_000)).toBe(true)
  })

  it('a restart goes on where it was: same ids for what is read again, nothing is left out', async () => {
    const now = systemClock.now()
    const lines = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => ({ stream: 's', time: now - 1_000, message: call(`again-${from + n}`, now - 1_000) }))
    await write('/again', lines(0, 100))
    const world = fresh()
    await collect({ log_groups: ['/again'] }, world, () => world.bus.of('usage.v1').length >= 100)
    // Of the very same millisecond, while nobody looks.
    await write('/again', lines(100, 130))
    const distinct = (): number => new Set(world.bus.of('usage.v1').map(({ event_id }) => event_id)).size
    await collect({ log_groups: ['/again'] }, world, () => distinct() >= 130)
    expect(distinct()).toBe(130)
    expect(world.bus.of('usage.v1').length).toBeLessThanOrEqual(230)
  })

  it('a role of another account', async () => {
    const sts = new STSClient({ region: REGION, endpoint: moto.url })
    const { Credentials: given } = await sts.send(new AssumeRoleCommand({ RoleArn: ROLE, RoleSessionName: 'writer' }))
    const credentials = { accessKeyId: given?.AccessKeyId ?? '', secretAccessKey: given?.SecretAccessKey ?? '', sessionToken: given?.SessionToken ?? '' }
    const other = new CloudWatchLogsClient({ region: REGION, endpoint: moto.url, credentials })
    const now = systemClock.now()
    await write('/theirs', [{ stream: 's', time: now - 5_000, message: call('theirs', now - 5_000) }], other)
    const world = fresh()
    await collect({ accounts: [{ role_arn: ROLE, external_id: 'word' }], log_groups: ['/theirs'] }, world, () => world.bus.of('usage.v1').length >= 1)
    expect(world.bus.of('usage.v1')[0]).toMatchObject({ source_stream: '111122223333/eu-west-1//theirs' })
    // Without the role there is no such group: blind, with what to do; another group of the same source goes on.
    await write('/ours', [{ stream: 's', time: now - 5_000, message: call('ours', now - 5_000) }])
    const mixed = fresh()
    await collect({ log_groups: ['/theirs', '/ours'] }, mixed, () => mixed.bus.of('usage.v1').length >= 1 && mixed.bus.of('progress.v1').some(({ blind }) => blind))
    expect(mixed.bus.of('progress.v1').find(({ blind }) => blind)?.reason).toMatch(/no log group \/theirs in eu-west-1/)
  })

  it('a group that is made later is read as soon as it is there', async () => {
    const world = fresh()
    const stop = new AbortController()
    const context = { clock: systemClock, log: silentLogger }
    const sources = await createSources(
      sourcesConfig.parse([{ id: 'aws', kind: 'cloudwatch-logs', regions: [REGION], endpoint: moto.url, ...QUICK, log_groups: ['/later'] }]),
      context,
    )
    const running = runCollector({ sources, pipeline: callPipeline, bus: world.bus.bus, state: world.state, ...context, options: { blind_retry: 300 } }, stop.signal)
    await eventually('the stream is blind', () => world.bus.of('progress.v1').some(({ blind }) => blind))
    const now = systemClock.now()
    await write('/later', [{ stream: 's', time: now - 5_000, message: call('later', now - 5_000) }])
    await eventually('the stream has healed', () => world.bus.of('usage.v1').length === 1 && world.bus.of('progress.v1').at(-1)?.blind === false).finally(() => stop.abort())
    await running
  })

  it('CloudTrail records become events', async () => {
    const file = join(import.meta.dirname, '../../ingest/formats/cloudtrail/cases/get-secret-value.json')
    const { record } = JSON.parse(readFileSync(file, 'utf8')) as { record: { body: string } }
    const now = systemClock.now()
    await write('/trail', [{ stream: '111122223333_CloudTrail_eu-west-1', time: now - 1_000, message: record.body }])
    const world = fresh()
    const formats = createFormats(['cloudtrail'])
    const pipeline = createPipeline({ formats, hash_key: 'a-key-for-tests-only', attribution: [], rater: noPrices, privacy: { truncate_ip: 'none', user_ids: 'keep' } })
    await collect({ log_groups: ['/trail'], written_after: '15m' }, world, () => world.bus.of('secret-access.v1').length >= 1, pipeline)
    expect(world.bus.of('secret-access.v1')).toMatchObject([{ secret_id: 'openai/prod', actor_name: 'api', source: 'cloudwatch-logs', source_stream: 'default/eu-west-1//trail' }])
  })

  it('check --probe says which group is missing', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tokenwatch-'))
    const config = join(directory, 'tokenwatch.yaml')
    const source = { id: 'aws', kind: 'cloudwatch-logs', regions: [REGION], endpoint: moto.url, log_groups: ['/nowhere'] }
    await writeFile(config, JSON.stringify({ data_dir: directory, sources: [source] }))
    const { stdout, stderr } = await runToEnd(['check', '--probe', '--config', config])
    expect(stdout + stderr).toMatch(/there is no log group \/nowhere in eu-west-1/)
  })
})
