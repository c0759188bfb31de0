/** Deliveries on the real embedded bus; sinks are scripted or real HTTP. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type EmbeddedBus, openEmbeddedBus } from '../bus/embedded.ts'
import { systemClock } from '../runtime/clock.ts'
import { silentLogger } from '../runtime/log.ts'
import { seededRandom } from '../runtime/random.ts'
import type { Alert } from '../schemas/alerts.ts'
import type { Delivery } from '../schemas/deliveries.ts'
import type { TopicName, TopicValue } from '../schemas/topics.ts'
import { findingOf, NOON } from '../test/support/alert-fixtures.ts'
import { startWebhookReceiver } from '../test/support/webhook-receiver.ts'
import { alertsConfig } from './config.ts'
import { runDelivery } from './delivery.ts'
import { applyFinding, noIncidents } from './incidents.ts'
import { lifecyclePolicy } from './routing.ts'
import { nextAttemptAt } from './schedule.ts'
import type { AlertSink, Notification, Receipt } from './sink.ts'
import { createSinks } from './sinks/index.ts'

const never = new AbortController().signal
let directory: string
let bus: EmbeddedBus
let stops: (() => Promise<void>)[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tokenwatch-deliver-'))
  bus = openEmbeddedBus({ directory }, { clock: systemClock, log: silentLogger })
  await bus.prepare(never)
  stops = []
})
afterEach(async () => {
  for (const stop of stops) await stop()
  await bus.close()
  await rm(directory, { recursive: true, force: true })
})

/** A sink that answers from a list and remembers what it was sent. */
function scripted(...answers: (Receipt | 'never')[]): AlertSink & { sent: Notification[] } {
  const sent: Notification[] = []
  return {
    sent,
    send: (notification) => {
      sent.push(notification)
      const answer = answers[Math.min(sent.length - 1, answers.length - 1)] ?? { outcome: 'accepted' }
      return answer === 'never' ? new Promise(() => {}) : Promise.resolve(answer)
    },
  }
}

const configFor = (names: string[], delivery: unknown) => alertsConfig.parse({ sinks: Object.fromEntries(names.map((name) => [name, { kind: 'terminal' }])), delivery })

function start(sinks: Map<string, AlertSink>, delivery: unknown = { timeout: '400ms', retries: ['50ms', '50ms', '50ms'] }) {
  const stop = new AbortController()
  const alerts = configFor([...sinks.keys()], delivery)
  const running = runDelivery({ bus, alerts, sinks, clock: systemClock, log: silentLogger, random: seededRandom(1), proposalFor: () => null }, stop.signal)
  const end = async (): Promise<void> => {
    stop.abort()
    await running
  }
  stops.push(end)
  return end
}

const alertOf = (entity: string, sinks: string[], now = systemClock.now()): Alert => {
  const policy = { ...lifecyclePolicy(configFor(sinks, {})) }
  const [result] = applyFinding(noIncidents(), findingOf({ entity, detected_at: now }), policy)
  if (result?.alert === undefined) throw new Error('no alert')
  return result.alert
}

async function all<T extends TopicName>(topic: T): Promise<TopicValue<T>[]> {
  const records: TopicValue<T>[] = []
  await bus.replay(topic, (batch) => void records.push(...(batch.records as TopicValue<T>[])), never)
  return records
}
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (await condition()) return
    await systemClock.sleep(20)
  }
  throw new Error('waited in vain')
}
const outcomes = (records: readonly Delivery[], sink: string): string[] => records.filter((record) => record.sink === sink).map((record) => record.outcome)
const drained = async (): Promise<boolean> => (await bus.lag('alert-delivery')).every(({ committed, end }) => committed === end) && (await bus.lag('alert-delivery')).length > 0

it('a webhook that fails and heals gets the message in the end, under one id, each attempt on record', async () => {
  const receiver = await startWebhookReceiver()
  process.env['TEST_DELIVERY_SECRET'] = receiver.secret
  receiver.answers = [{ status: 500 }, { status: 502 }, { status: 429, headers: { 'retry-after': '1' } }]
  const config = alertsConfig.parse({
    sinks: { hook: { kind: 'webhook', url: receiver.url, secret: { env: 'TEST_DELIVERY_SECRET' }, internal: { cidrs: ['127.0.0.0/8'], http: true } } },
  })
  start(createSinks(config, { clock: systemClock, log: silentLogger, console_url: null }))
  await bus.publish('alerts.v1', [alertOf('key:fp_a', ['hook'])])
  await until(async () => (await all('deliveries.v1')).some((record) => record.outcome === 'accepted'))
  expect(receiver.received).toHaveLength(4)
  expect(new Set(receiver.received.map(({ id }) => id)).size).toBe(1)
  expect(receiver.received.every(({ verified }) => verified)).toBe(true)
  const records = await all('deliveries.v1')
  expect(outcomes(records, 'hook')).toEqual(['attempting', 'retry', 'attempting', 'retry', 'attempting', 'retry', 'attempting', 'accepted'])
  const third = records[5]
  expect((third?.next_attempt_at ?? 0) - (third?.at ?? 0)).toBe(1000)
  delete process.env['TEST_DELIVERY_SECRET']
  await receiver.close()
})

it('a slow sink delays nobody else, and its messages go on after it', async () => {
  const slow = scripted('never')
  const quick = scripted()
  start(
    new Map<string, AlertSink>([
      ['slow', slow],
      ['quick', quick],
    ]),
    { timeout: '3s', retries: [] },
  )
  const began = systemClock.now()
  for (let index = 0; index < 5; index++) {
    await bus.publish('alerts.v1', [alertOf(`key:fp_${index}`, ['slow', 'quick'])])
    await systemClock.sleep(20)
  }
  await until(() => new Set(quick.sent.map(({ alert }) => alert.entity)).size === 5)
  // Not even the first message of the slow sink has come to its deadline; its intents are on record and the offset has moved.
  expect(systemClock.now() - began).toBeLessThan(2_900)
  expect(slow.sent).toHaveLength(1)
  await until(drained)
  expect(outcomes(await all('deliveries.v1'), 'slow')).toEqual(Array.from({ length: 5 }, () => 'attempting'))
}, 30_000)

it('what a dead process left is picked up: unknown sends at once, retries when due, what was told never again', async () => {
  const alerts = ['a', 'b', 'c', 'd'].map((name) => alertOf(`key:fp_${name}`, ['only']))
  await bus.publish('alerts.v1', alerts)
  const now = systemClock.now()
  const record = (index: number, outcome: Delivery['outcome'], next: number | null): Delivery => ({
    notification_id: alerts[index]?.notification?.notification_id ?? '',
    alert_id: alerts[index]?.alert_id ?? '',
    sink: 'only',
    kind: 'firing',
    attempt: 1,
    outcome,
    at: now,
    next_attempt_at: next,
    receipt: null,
    error: null,
    duration_ms: null,
  })
  await bus.publish('deliveries.v1', [record(0, 'accepted', null), record(1, 'attempting', null), record(2, 'retry', now + 300)])
  const only = scripted()
  start(new Map([['only', only]]))
  await until(() => only.sent.length === 3)
  await until(drained)
  // The record follows the send.
  await until(async () => (await all('deliveries.v1')).filter(({ outcome }) => outcome === 'accepted').length === 4)
  expect(only.sent.map((notification) => notification.alert.entity).sort()).toEqual(['key:fp_b', 'key:fp_c', 'key:fp_d'])
  expect(only.sent.find(({ alert }) => alert.entity === 'key:fp_b')?.notification_id).toBe(alerts[1]?.notification?.notification_id)
  // The retry is no part of a batch: its record follows the send whenever the disk has it.
  const third = async () => (await all('deliveries.v1')).filter((delivery) => delivery.alert_id === alerts[2]?.alert_id).at(-1)
  await until(async () => (await third())?.outcome === 'accepted')
  expect((await third())?.attempt).toBe(2)
  expect(((await third())?.at ?? 0) - now).toBeGreaterThanOrEqual(300)
})

describe('giving up', () => {
  it('is kept as a reject and told to another sink, once, also after a restart', async () => {
    const broken = scripted({ outcome: 'retry', error: 'away' })
    const other = scripted()
    const end = start(
      new Map<string, AlertSink>([
        ['broken', broken],
        ['other', other],
      ]),
      { timeout: '400ms', retries: ['10ms', '10ms'] },
    )
    await bus.publish('alerts.v1', [alertOf('key:fp_a', ['broken', 'other'])])
    await until(() => other.sent.length === 2)
    expect(broken.sent).toHaveLength(3)
    expect(other.sent[1]?.alert.summary).toContain('The sink "broken" could not be told (away).')
    expect(other.sent[1]?.notification_id).not.toBe(other.sent[0]?.notification_id)
    await until(async () => (await all('rejects.v1')).length === 1)
    expect(await all('rejects.v1')).toMatchObject([{ stage: 'deliver', source: 'broken', reason: 'retries-used-up' }])
    await until(async () => outcomes(await all('deliveries.v1'), 'other').filter((outcome) => outcome === 'accepted').length === 2)
    await end()
    start(
      new Map<string, AlertSink>([
        ['broken', broken],
        ['other', other],
      ]),
    )
    await systemClock.sleep(300)
    expect(broken.sent).toHaveLength(3)
    expect(other.sent).toHaveLength(2)
  })

  it('410 switches a sink off', async () => {
    const gone = scripted({ outcome: 'disabled', error: 'gone' })
    const other = scripted()
    start(
      new Map<string, AlertSink>([
        ['gone', gone],
        ['other', other],
      ]),
    )
    await bus.publish('alerts.v1', [alertOf('key:fp_a', ['gone', 'other'])])
    await until(() => other.sent.length === 2)
    await bus.publish('alerts.v1', [alertOf('key:fp_b', ['gone', 'other'])])
    await until(() => other.sent.length === 4)
    expect(gone.sent).toHaveLength(1)
    expect(outcomes(await all('deliveries.v1'), 'gone').filter((outcome) => outcome === 'disabled')).toHaveLength(2)
  })
})

it('a try that was due more than a week ago is history', async () => {
  const [old, young] = [alertOf('key:fp_old', ['only'], systemClock.now() - 8 * 86_400_000), alertOf('key:fp_young', ['only'])]
  await bus.publish('alerts.v1', [old, young])
  const record = ({ alert_id, notification, updated_at }: Alert): Delivery => ({
    notification_id: notification?.notification_id ?? '',
    alert_id,
    sink: 'only',
    kind: 'firing',
    attempt: 1,
    outcome: 'retry',
    at: updated_at,
    next_attempt_at: updated_at + 1,
    receipt: null,
    error: null,
    duration_ms: null,
  })
  await bus.publish('deliveries.v1', [record(old), record(young)])
  const only = scripted()
  start(new Map([['only', only]]))
  await until(async () => (await all('deliveries.v1')).some(({ outcome }) => outcome === 'accepted'))
  await until(async () => (await all('deliveries.v1')).some(({ outcome }) => outcome === 'suppressed'))
  expect(only.sent.map(({ alert }) => alert.entity)).toEqual(['key:fp_young'])
  expect((await all('deliveries.v1')).find(({ outcome }) => outcome === 'suppressed')?.alert_id).toBe(old.alert_id)
})

it('what another process had to try again goes on where its partitions go, and is sent by one of them only', async () => {
  const away = scripted({ outcome: 'retry', error: 'away' })
  const works = scripted()
  const schedule = { timeout: '5s', retries: Array.from({ length: 9 }, () => '2s') }
  const first = start(new Map([['mail', away]]), schedule)
  await until(async () => (await bus.lag('alert-delivery')).length > 0)
  start(new Map([['mail', works]]), schedule)
  await until(async () => (await bus.members('alert-delivery')) === 2)
  await systemClock.sleep(500)
  const alerts = Array.from({ length: 20 }, (_, n) => alertOf(`key:fp_${n}`, ['mail']))
  await bus.publish('alerts.v1', alerts)
  await until(async () => new Set((await all('deliveries.v1')).filter(({ outcome }) => outcome !== 'attempting').map(({ alert_id }) => alert_id)).size === alerts.length)
  const tried = new Set(away.sent.map(({ alert }) => alert.alert_id))
  expect(tried.size, 'both have a part of the alerts').toBeGreaterThan(0)
  expect(works.sent.filter(({ alert }) => tried.has(alert.alert_id))).toEqual([])
  await first()
  await until(() => new Set(works.sent.map(({ alert }) => alert.alert_id)).size === alerts.length)
  expect(works.sent).toHaveLength(alerts.length)
})

it('a sink that neither answers nor stops leaves an unknown, which is tried again', async () => {
  const stuck = scripted('never', { outcome: 'accepted' })
  start(new Map([['stuck', stuck]]), { timeout: '100ms', retries: ['10ms'] })
  await bus.publish('alerts.v1', [alertOf('key:fp_a', ['stuck'])])
  await until(async () => outcomes(await all('deliveries.v1'), 'stuck').includes('accepted'))
  expect(outcomes(await all('deliveries.v1'), 'stuck')).toEqual(['attempting', 'unknown', 'attempting', 'accepted'])
}, 15_000)

it('nothing is sent for backfill, for history, or to a sink that is not configured any more', async () => {
  const only = scripted()
  start(new Map([['only', only]]))
  const now = systemClock.now()
  const old = alertOf('key:fp_old', ['only'], NOON)
  await bus.publish('alerts.v1', [{ ...alertOf('key:fp_b', ['only']), backfill: true }, { ...old, updated_at: now - 8 * 86_400_000 }, alertOf('key:fp_c', ['removed'])])
  await until(drained)
  expect(only.sent).toEqual([])
  expect((await all('deliveries.v1')).map(({ outcome }) => outcome)).toEqual(['suppressed', 'permanent'])
})

it('the schedule is full jitter under its steps, longer where the receiver asks, and it ends', () => {
  const { delivery } = alertsConfig.parse({})
  const at = (attempt: number, receipt: Receipt, random = 1) => nextAttemptAt(receipt, attempt, 0, delivery, () => random)
  const retry: Receipt = { outcome: 'retry' }
  expect([1, 2, 3, 9].map((attempt) => at(attempt, retry))).toEqual([5_000, 300_000, 1_800_000, 86_400_000])
  expect(at(2, retry, 0)).toBe(0)
  expect(at(1, { outcome: 'retry', retry_after_ms: 60_000 })).toBe(60_000)
  expect(at(1, { outcome: 'retry', retry_after_ms: 9e9 })).toBe(6 * 3_600_000)
  expect(at(1, { outcome: 'unknown' })).toBe(5_000)
  expect(at(10, retry)).toBeNull()
  expect(at(1, { outcome: 'permanent' })).toBeNull()
})
