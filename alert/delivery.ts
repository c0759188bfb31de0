/**
 * From alerts.v1 to the sinks: at least once, deduplicable. Before a send an `attempting` record is written, after it the
 * outcome; whoever gets the partition next repeats exactly what has no outcome, with the same notification id. Offsets move when
 * the first attempt of a batch is recorded, or its intent where the sink is slow; retries are scheduled from deliveries.v1, so
 * they survive a restart and go along with the partition of their alert.
 */
import type { Batch, Bus } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import { crashPoint } from '../runtime/crash.ts'
import { messageOf } from '../runtime/errors.ts'
import { nameUuid, sha256Hex } from '../runtime/ids.ts'
import type { Logger } from '../runtime/log.ts'
import { counter } from '../runtime/metrics.ts'
import type { Random } from '../runtime/random.ts'
import { retry } from '../runtime/retry.ts'
import { plainText } from '../runtime/text.ts'
import type { Alert } from '../schemas/alerts.ts'
import type { Delivery } from '../schemas/deliveries.ts'
import type { Response } from '../schemas/responses.ts'
import type { AlertsConfig } from './config.ts'
import { memoryOf } from './lifecycle.ts'
import { nextAttemptAt } from './schedule.ts'
import type { AlertSink, Notification, Receipt } from './sink.ts'
import { createSinkQueue, type SinkQueue } from './sink-queue.ts'

export interface DeliveryOptions {
  bus: Bus
  alerts: AlertsConfig
  sinks: ReadonlyMap<string, AlertSink>
  clock: Clock
  log: Logger
  random: Random
  proposalFor: (alertId: string) => Response | null
}

/** A notification that nobody could send for so long is history, and no news. */
const STALE_MS = 7 * 86_400_000
const TOO_OLD = 'it is more than a week old'
/** Failures of longer ago are not told to another sink any more. */
const FALLBACK_MS = 86_400_000
/** A sink that ignores its abort signal gets this long on top. */
const GRACE_MS = 2_000
/** First attempts that take longer are not waited for: their intents are on the bus, the offset may move. */
const PROMPT_MS = 1_000
/** `kind` of the message that tells one sink that another could not be told. */
const UNDELIVERED = 'undelivered'

const attempts = counter('tokenwatch_deliveries_total', 'Attempts to deliver a notification by sink and outcome', ['sink', 'outcome'])

interface Job {
  notification: Notification
  /** Of alerts.v1, where its alert lies: whose it is, he sends. */
  partition: number
  sink: string
  /** firing … resolved, or undelivered. */
  kind: string
  attempt: number
  /** The `attempting` record of this attempt is written. */
  intended: boolean
  /** Called when the outcome is recorded. */
  done?: () => void
}

interface Deliveries extends DeliveryOptions {
  /** The newest record of each notification and sink. */
  known: Map<string, Delivery>
  queues: Map<string, SinkQueue<Job>>
  /** Partitions of alerts.v1 that this process has. */
  owned: Set<number>
  /** Notifications and sinks that are being sent. */
  running: Set<string>
  /** Sinks whose last attempt took longer than PROMPT_MS: nobody waits for them. */
  slow: Set<string>
  /** Sinks that said 410; until the process starts again. */
  disabled: Set<string>
}

/** Resolves when the signal aborts and the running sends have ended; rejects when the bus cannot go on. */
export async function runDelivery(options: DeliveryOptions, signal: AbortSignal): Promise<void> {
  const queues = new Map([...options.sinks.keys()].map((name) => [name, createSinkQueue<Job>(options.clock)]))
  const deliveries: Deliveries = { ...options, known: new Map(), queues, owned: new Set(), running: new Set(), slow: new Set(), disabled: new Set() }
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  const workers = [...queues.values()].map((queue) => queue.run((job) => attemptOnce(deliveries, job, ended), ended))
  const consuming = options.bus.consume(
    ['alerts.v1'],
    'alert-delivery',
    {
      assigned: (partitions) => {
        for (const { partition } of partitions) deliveries.owned.add(partition)
        return recover(deliveries, new Set(partitions.map(({ partition }) => partition)), ended)
      },
      revoked: async (partitions) => {
        const gone = new Set(partitions.map(({ partition }) => partition))
        for (const partition of gone) deliveries.owned.delete(partition)
        for (const queue of queues.values()) queue.drop((job) => gone.has(job.partition))
      },
      handle: (batch, handling) => handleBatch(deliveries, batch, handling),
    },
    ended,
  )
  const settled = await Promise.allSettled([consuming, ...workers].map((loop) => loop.finally(() => stop.abort())))
  const failed = settled.find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

async function handleBatch(deliveries: Deliveries, batch: Batch<'alerts.v1'>, signal: AbortSignal): Promise<void> {
  const { bus, clock, known, queues, sinks, slow } = deliveries
  const now = clock.now()
  const jobs: Job[] = []
  const records: Delivery[] = []
  for (const alert of batch.records) {
    if (alert.notification === null || alert.backfill) continue
    for (const sink of alert.notification.sinks) {
      if (known.has(keyOf(alert.notification.notification_id, sink))) continue
      const job: Job = { notification: notificationOf(deliveries, alert), partition: batch.partition, sink, kind: alert.notification.kind, attempt: 1, intended: true }
      const stale = now - alert.updated_at > STALE_MS
      if (stale) records.push(recordOf(job, now, { outcome: 'suppressed', error: TOO_OLD }))
      else if (!sinks.has(sink)) records.push(recordOf(job, now, { outcome: 'permanent', error: `the config has no sink "${sink}" any more` }))
      else {
        records.push(recordOf(job, now, { outcome: 'attempting' }))
        jobs.push(job)
      }
    }
  }
  await bus.publish('deliveries.v1', records)
  for (const record of records) known.set(keyOf(record.notification_id, record.sink), record)
  const idle = new Set([...queues].filter(([name, queue]) => queue.idle() && !slow.has(name)).map(([name]) => name))
  const waits = jobs.map(
    (job) =>
      new Promise<void>((resolve) => {
        enqueue(deliveries, { ...job, done: resolve }, now)
        if (!idle.has(job.sink)) resolve()
      }),
  )
  const over = new AbortController()
  await Promise.race([Promise.all(waits), clock.sleep(PROMPT_MS, AbortSignal.any([signal, over.signal]))])
  over.abort()
}

async function attemptOnce(deliveries: Deliveries, job: Job, signal: AbortSignal): Promise<void> {
  const key = keyOf(job.notification.notification_id, job.sink)
  deliveries.running.add(key)
  try {
    await attempt(deliveries, job, signal)
  } finally {
    deliveries.running.delete(key)
  }
}

async function attempt(deliveries: Deliveries, job: Job, signal: AbortSignal): Promise<void> {
  const { alerts, clock, disabled, log, random, sinks } = deliveries
  const sink = sinks.get(job.sink)
  if (sink === undefined) return
  if (!job.intended) await note(deliveries, recordOf(job, clock.now(), { outcome: 'attempting' }), signal)
  crashPoint('alert.before-send')
  const started = clock.now()
  const receipt: Receipt = disabled.has(job.sink) ? { outcome: 'disabled', error: 'the sink said that it is gone' } : await sendInTime(sink, job.notification, deliveries)
  crashPoint('alert.after-send')
  const ended = clock.now()
  if (ended - started > PROMPT_MS) deliveries.slow.add(job.sink)
  else deliveries.slow.delete(job.sink)
  const next = nextAttemptAt(receipt, job.attempt, ended, alerts.delivery, random)
  const record: Delivery = {
    ...recordOf(job, ended, { outcome: receipt.outcome, error: receipt.error ?? null }),
    next_attempt_at: next,
    receipt: receipt.receipt === undefined ? null : plainText(receipt.receipt, 500),
    duration_ms: Math.max(0, ended - started),
  }
  await note(deliveries, record, signal)
  crashPoint('alert.after-delivery')
  attempts.inc({ sink: job.sink, outcome: receipt.outcome })
  job.done?.()
  if (receipt.outcome === 'accepted') return
  log.warn('a notification was not accepted', { sink: job.sink, outcome: receipt.outcome, error: receipt.error, attempt: job.attempt, alert_id: record.alert_id })
  if (receipt.outcome === 'disabled') disabled.add(job.sink)
  if (next === null) await giveUp(deliveries, job, record, signal)
  else enqueue(deliveries, { ...again(job), attempt: job.attempt + 1 }, next)
}

/** A retry whose partition has gone elsewhere is the new owner's, who finds it on deliveries.v1. */
function enqueue({ owned, queues }: Deliveries, job: Job, due: number): void {
  if (owned.has(job.partition)) queues.get(job.sink)?.add(job, due)
}

/** The total deadline of one attempt; a sink that throws or does not come back leaves the outcome unknown. */
async function sendInTime(sink: AlertSink, notification: Notification, { alerts, clock }: Deliveries): Promise<Receipt> {
  const deadline = new AbortController()
  const finished = new AbortController()
  const late = (async (): Promise<Receipt> => {
    await clock.sleep(alerts.delivery.timeout, finished.signal)
    deadline.abort()
    await clock.sleep(GRACE_MS, finished.signal)
    return { outcome: 'unknown', error: `no answer within ${alerts.delivery.timeout} ms` }
  })()
  try {
    return await Promise.race([sink.send(notification, deadline.signal), late])
  } catch (error) {
    return { outcome: 'unknown', error: plainText(messageOf(error), 500) }
  } finally {
    finished.abort()
  }
}

/** Nothing more will be tried here: it is kept as a reject, and another sink hears that this one could not be told. */
async function giveUp(deliveries: Deliveries, job: Job, record: Delivery, signal: AbortSignal): Promise<void> {
  const { bus, clock, log } = deliveries
  const body = JSON.stringify(job.notification.alert)
  const reject = {
    reject_id: nameUuid(record.notification_id, record.sink, 'deliver'),
    received_at: clock.now(),
    source: record.sink,
    source_stream: record.alert_id,
    stage: 'deliver' as const,
    plugin: null,
    run_id: null,
    reason: record.outcome === 'disabled' ? 'sink-disabled' : record.outcome === 'permanent' ? 'sink-refused' : 'retries-used-up',
    detail: plainText(`${record.kind} of alert ${record.alert_id} did not reach sink "${record.sink}" in ${record.attempt} attempts: ${record.error ?? 'no reason given'}`, 2000),
    size_bytes: Buffer.byteLength(body),
    sha256: sha256Hex(body),
    topic: null,
    payload: null,
  }
  await retry(() => bus.publish('rejects.v1', [reject]), { clock, signal, what: 'the bus', log })
  if (job.kind !== UNDELIVERED) tellAnother(deliveries, job.notification, job.partition, record)
}

function tellAnother(deliveries: Deliveries, notification: Notification, partition: number, failure: Delivery): void {
  const { clock, disabled, log, sinks } = deliveries
  const other = [...sinks.keys()].find((name) => name !== failure.sink && !disabled.has(name))
  if (other === undefined)
    return log.error('a notification was given up and there is no other sink to tell', { sink: failure.sink, alert_id: failure.alert_id, error: failure.error })
  enqueue(deliveries, { notification: undelivered(notification, failure), partition, sink: other, kind: UNDELIVERED, attempt: 1, intended: false }, clock.now())
}

const undelivered = (notification: Notification, failure: Delivery): Notification => ({
  ...notification,
  notification_id: nameUuid(failure.notification_id, UNDELIVERED, failure.sink),
  alert: {
    ...notification.alert,
    summary: plainText(`The sink "${failure.sink}" could not be told (${failure.error ?? 'no answer'}). ${notification.alert.summary}`, 2000),
  },
})

/** Puts into the queues what the former owner of these partitions left: unknown sends at once, retries when they are due, news of failures. */
async function recover(deliveries: Deliveries, partitions: ReadonlySet<number>, signal: AbortSignal): Promise<void> {
  const { bus, clock, known, sinks } = deliveries
  await bus.replay(
    'deliveries.v1',
    (batch) => {
      for (const record of batch.records) if (!isOlder(record, known.get(keyOf(record.notification_id, record.sink)))) known.set(keyOf(record.notification_id, record.sink), record)
    },
    signal,
  )
  const open = new Map<string, Delivery[]>()
  for (const record of known.values()) {
    const recent = record.at > clock.now() - FALLBACK_MS && record.kind !== UNDELIVERED && sinks.has(record.sink)
    if (isPending(record) || (recent && isFailure(record))) open.set(record.notification_id, [...(open.get(record.notification_id) ?? []), record])
  }
  if (open.size === 0) return
  const history: Delivery[] = []
  await bus.replay(
    'alerts.v1',
    (batch) => {
      if (!partitions.has(batch.partition)) return
      for (const alert of batch.records) {
        for (const record of open.get(alert.notification?.notification_id ?? '') ?? [])
          if (isPending(record) && clock.now() - alert.updated_at > STALE_MS)
            history.push({ ...record, outcome: 'suppressed', at: clock.now(), next_attempt_at: null, error: TOO_OLD })
          else resume(deliveries, notificationOf(deliveries, alert), batch.partition, record)
        open.delete(alert.notification?.notification_id ?? '')
      }
    },
    signal,
  )
  for (const record of history) await note(deliveries, record, signal)
}

function resume(deliveries: Deliveries, notification: Notification, partition: number, record: Delivery): void {
  const { clock, known, queues, running } = deliveries
  // It is being sent, or was while the bus was read.
  const key = keyOf(record.notification_id, record.sink)
  if (running.has(key) || known.get(key) !== record) return
  if (isPending(record)) {
    const job: Job = { notification, partition, sink: record.sink, kind: record.kind, attempt: record.attempt + 1, intended: false }
    enqueue(deliveries, job, record.next_attempt_at ?? clock.now())
    return
  }
  const told = undelivered(notification, record)
  const before = [...queues.keys()].map((sink) => known.get(keyOf(told.notification_id, sink))).find((found) => found !== undefined)
  if (before === undefined) tellAnother(deliveries, notification, partition, record)
  else if (isPending(before) && !running.has(keyOf(told.notification_id, before.sink))) {
    enqueue(
      deliveries,
      { notification: told, partition, sink: before.sink, kind: UNDELIVERED, attempt: before.attempt + 1, intended: false },
      before.next_attempt_at ?? clock.now(),
    )
  }
}

/** While the bus is read again a send may have ended here. */
const isOlder = (record: Delivery, held: Delivery | undefined): boolean =>
  held !== undefined && (record.attempt < held.attempt || (record.attempt === held.attempt && record.outcome === 'attempting'))

const isPending = (record: Delivery): boolean => record.outcome === 'attempting' || record.next_attempt_at !== null
const isFailure = (record: Delivery): boolean => !isPending(record) && record.outcome !== 'accepted' && record.outcome !== 'suppressed'
const keyOf = (notificationId: string, sink: string): string => `${notificationId} ${sink}`
const again = (job: Job): Job => ({ notification: job.notification, partition: job.partition, sink: job.sink, kind: job.kind, attempt: job.attempt, intended: false })

/** Redelivered batches are told apart by `known`, so it changes only after the bus has the record. */
async function note(deliveries: Deliveries, record: Delivery, signal: AbortSignal): Promise<void> {
  const { bus, clock, known, log } = deliveries
  await retry(() => bus.publish('deliveries.v1', [record]), { clock, signal, what: 'the bus', log })
  known.set(keyOf(record.notification_id, record.sink), record)
}

const recordOf = (job: Job, at: number, result: { outcome: Delivery['outcome']; error?: string | null }): Delivery => ({
  notification_id: job.notification.notification_id,
  alert_id: job.notification.alert.alert_id,
  sink: job.sink,
  kind: job.kind,
  attempt: job.attempt,
  outcome: result.outcome,
  at,
  next_attempt_at: null,
  receipt: null,
  error: result.error === undefined || result.error === null ? null : plainText(result.error, 1000),
  duration_ms: null,
})

function notificationOf({ proposalFor }: Deliveries, alert: Alert): Notification {
  const { notification } = alert
  return {
    notification_id: notification?.notification_id ?? alert.alert_id,
    kind: notification?.kind ?? 'firing',
    alert,
    proposal: proposalFor(alert.alert_id),
    sequence: Math.max(0, memoryOf(alert).told - 1),
  }
}
