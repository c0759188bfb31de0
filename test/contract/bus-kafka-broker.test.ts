/** What only a real Kafka can do to us: go away, ask who we are, hold records that others wrote. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { Bus } from '../../bus/bus.ts'
import { busConfig, type KafkaConfig } from '../../bus/config.ts'
import { createKafkaBus } from '../../bus/kafka.ts'
import { systemClock } from '../../runtime/clock.ts'
import { freshUuid } from '../../runtime/ids.ts'
import { createLogger } from '../../runtime/log.ts'
import type { Reject } from '../../schemas/rejects.ts'
import { allowSnappy, describeTopic, writeForeign } from '../support/kafka/foreign.ts'
import { ensureKafka, startKafka } from '../support/kafka/kafka.ts'
import { needs } from '../support/needs.ts'
import { usageOf, usageSeries } from './bus-events.ts'
import { consuming, KEYS, until } from './bus-tools.ts'

const never = new AbortController().signal
let shared: string[] = []

interface Opened {
  bus: Bus
  prefix: string
  lines: { level: string; message: string }[]
}

function open(over: Record<string, unknown>, env: Record<string, string> = {}): Opened {
  const prefix = `${freshUuid().slice(0, 8)}.`
  const topics = { prefix, replication: 1, ...(over['topics'] as object | undefined) }
  const config = busConfig.parse({ kind: 'kafka', brokers: shared, session_timeout: '6s', ...over, topics }) as KafkaConfig
  const lines: Opened['lines'] = []
  const log = createLogger({ write: (line) => void lines.push(JSON.parse(line) as Opened['lines'][number]) })
  const bus = createKafkaBus(config, { clock: systemClock, log, env })
  onTestFinished(() => bus.close())
  return { bus, prefix, lines }
}

describe.skipIf(!needs('kafka', 45))('the kafka bus and its broker', () => {
  beforeAll(async () => {
    shared = (await ensureKafka()).brokers
  }, 300_000)

  it('makes topics as the registry says', async () => {
    const { bus, prefix } = open({ retention: { 'usage.v1': '3d' }, topics: { partitions: { 'findings.v1': 2 }, min_insync_replicas: 1 } })
    await bus.prepare(never)
    const usage = await describeTopic(shared, `${prefix}usage.v1`)
    expect(usage.partitions).toBe(6)
    expect(usage.settings).toMatchObject({
      'cleanup.policy': 'delete',
      'retention.ms': String(3 * 86_400_000),
      'min.insync.replicas': '1',
      'unclean.leader.election.enable': 'false',
    })
    expect((await describeTopic(shared, `${prefix}progress.v1`)).settings).toMatchObject({ 'cleanup.policy': 'compact', 'retention.ms': '-1' })
    expect((await describeTopic(shared, `${prefix}findings.v1`)).partitions).toBe(2)
  })

  it('says what to do when the cluster has too few brokers', async () => {
    const { bus } = open({ topics: { replication: 3 } })
    await expect(bus.prepare(never)).rejects.toThrow('bus.topics.replication')
  })

  it('reads gzip, zstd and plain records, refuses others with a reason', async () => {
    for (const compression of ['none', 'gzip', 'zstd']) {
      const { bus } = open({ compression })
      await bus.prepare(never)
      await bus.publish('usage.v1', usageSeries(KEYS, 3))
      let count = 0
      await bus.replay('usage.v1', ({ records }) => void (count += records.length), never)
      expect(count).toBe(KEYS.length * 3)
    }
    const { bus, prefix } = open({})
    await bus.prepare(never)
    await writeForeign(shared, `${prefix}usage.v1`, 0, [{ value: JSON.stringify(usageOf('a', 1)) }], 'GZIP')
    const running = consuming(bus, 'codecs')
    await until('the gzip record of the other client', () => running.records().length === 1)
    await running.stop()
    const value = JSON.stringify(usageOf('a', 2))
    allowSnappy()
    await writeForeign(shared, `${prefix}usage.v1`, 0, [{ value }], 'Snappy')
    const later = open({ topics: { prefix } })
    await expect(later.bus.consume(['usage.v1'], 'codecs', { handle: async () => {} }, never)).rejects.toThrow('compressed with snappy')
  })

  it('rejects a record whose header names another schema, and one without a value', async () => {
    const { bus, prefix } = open({})
    await bus.prepare(never)
    const value = JSON.stringify(usageOf('a', 1))
    await writeForeign(shared, `${prefix}usage.v1`, 0, [{ value, headers: { schema: 'usage.v2' } }, { value, headers: { schema: 'usage.v1' } }, { value: null }])
    await writeForeign(shared, `${prefix}progress.v1`, 0, [{ value: null, key: 'gone' }])
    const running = consuming(bus, 'headers')
    await until('the good record', () => running.records().length === 1)
    await bus.replay('progress.v1', () => expect.unreachable(), never)
    const rejects: Reject[] = []
    await bus.replay('rejects.v1', ({ records }) => void rejects.push(...records), never)
    expect(rejects.map(({ reason }) => reason).sort()).toEqual(['empty-record', 'wrong-schema'])
  })

  it('is quiet when idle: no timer of a millisecond, no warning about negative delays', async () => {
    const warnings: string[] = []
    const listen = (warning: Error) => void warnings.push(warning.name)
    process.on('warning', listen)
    onTestFinished(() => void process.off('warning', listen))
    const { bus } = open({})
    await bus.prepare(never)
    await bus.publish('usage.v1', usageSeries(KEYS, 2))
    const running = consuming(bus, 'idle')
    await until('read', () => running.records().length === KEYS.length * 2)
    await systemClock.sleep(1_000)
    const before = process.cpuUsage()
    await systemClock.sleep(4_000)
    const { user, system } = process.cpuUsage(before)
    // Unpatched it is several percent; 2 % is the promise, measured 0.3 %.
    expect((user + system) / 4_000_000).toBeLessThan(0.05)
    expect(warnings).not.toContain('TimeoutNegativeWarning')
  })

  it('waits for a broker that is away, says so once, and goes on without loss when it is back', async () => {
    const own = await startKafka()
    onTestFinished(() => own.remove())
    const { bus, lines } = open({ brokers: own.brokers })
    await bus.prepare(never)
    const running = consuming(bus, 'outage')
    const first = usageSeries(KEYS, 10)
    await bus.publish('usage.v1', first)
    await until('read before', () => running.records().length === first.length)
    await own.stop()
    const second = usageSeries(
      KEYS.map((key) => `${key}-later`),
      5,
    )
    await expect(bus.publish('usage.v1', second)).rejects.toThrow('does not answer')
    await expect(bus.ping(AbortSignal.timeout(3_000))).rejects.toThrow()
    await systemClock.sleep(12_000)
    await own.start()
    await until(
      'published at last',
      async () =>
        bus.publish('usage.v1', second).then(
          () => true,
          () => false,
        ),
      40_000,
    )
    const ids = new Set([...first, ...second].map(({ event_id }) => event_id))
    await until('read after', () => new Set(running.records().map(({ event_id }) => event_id)).size === ids.size, 60_000)
    await until('committed', async () => (await bus.lag('outage')).every(({ committed, end }) => committed === end), 20_000)
    const said = (message: string) => lines.filter((line) => line.message === message).length
    expect(said('waiting for Kafka')).toBeGreaterThanOrEqual(1)
    expect(said('waiting for Kafka')).toBeLessThanOrEqual(3)
    expect(said('Kafka answers again')).toBeGreaterThanOrEqual(1)
  }, 180_000)

  it('signs in with SCRAM over TLS, and says what is wrong when it cannot', async () => {
    const tls = selfSigned()
    const jaas = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="broker" password="broker-secret";'
    const own = await startKafka({
      protocol: 'SASL_SSL',
      format: ['--add-scram', 'SCRAM-SHA-512=[name=tokenwatch,password=right]', '--add-scram', 'SCRAM-SHA-512=[name=broker,password=broker-secret]'],
      properties: {
        'sasl.enabled.mechanisms': 'SCRAM-SHA-512',
        'sasl.mechanism.inter.broker.protocol': 'SCRAM-SHA-512',
        'listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config': jaas,
        'ssl.keystore.type': 'PEM',
        'ssl.keystore.location': tls.keystore,
        'ssl.truststore.type': 'PEM',
        'ssl.truststore.location': tls.certificate,
        'ssl.endpoint.identification.algorithm': '',
      },
    })
    onTestFinished(() => own.remove())
    const sasl = (name: string) => ({ mechanism: 'scram-sha-512', username: 'tokenwatch', password: { env: name } })
    const env = { RIGHT: 'right', WRONG: 'wrong' }
    const trusted = { ca: { file: tls.certificate } }
    const { bus } = open({ brokers: own.brokers, tls: trusted, sasl: sasl('RIGHT') }, env)
    await bus.prepare(never)
    await bus.publish('usage.v1', usageSeries(['a'], 5))
    const running = consuming(bus, 'signed-in')
    await until('read', () => running.records().length === 5)
    const wrong = open({ brokers: own.brokers, tls: trusted, sasl: sasl('WRONG') }, env)
    await expect(wrong.bus.prepare(never)).rejects.toThrow('bus.sasl')
    await expect(wrong.bus.consume(['usage.v1'], 'x', { handle: async () => {} }, never)).rejects.toThrow('bus.sasl')
    const untrusted = open({ brokers: own.brokers, tls: true, sasl: sasl('RIGHT') }, env)
    await expect(untrusted.bus.prepare(never)).rejects.toThrow('bus.tls.ca')
    expect(() => open({ brokers: own.brokers, sasl: sasl('NOWHERE') }, env)).toThrow('NOWHERE')
  }, 120_000)
})

function selfSigned(): { keystore: string; certificate: string } {
  const directory = mkdtempSync(join(tmpdir(), 'tokenwatch-tls-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const [key, certificate, keystore] = ['key.pem', 'certificate.pem', 'keystore.pem'].map((name) => join(directory, name)) as [string, string, string]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', certificate, ...subject], { stdio: 'ignore' })
  writeFileSync(keystore, readFileSync(key, 'utf8') + readFileSync(certificate, 'utf8'))
  return { keystore, certificate }
}
