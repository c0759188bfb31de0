/** What was pushed → events on the bus, by the same code as what is pulled, so that both give the same events. */
import type { Bus } from '../../bus/bus.ts'
import type { Clock } from '../../runtime/clock.ts'
import { messageOf, TransientError } from '../../runtime/errors.ts'
import type { Logger } from '../../runtime/log.ts'
import { createOccurrences } from '../occurrences.ts'
import type { Pipeline } from '../pipeline.ts'
import { Announcer } from '../progress.ts'
import { type Counts, noCounts, type Outbox, publishOutbox, publishPage, put } from '../publish.ts'
import type { Accepted, Pushed } from '../receiver.ts'

export interface AcceptDeps {
  pipeline: Pipeline
  bus: Bus
  clock: Clock
  log: Logger
}

// Senders buffer up to 15 minutes, several at once: what is this much older than the newest event is still expected.
const ORDER_TOLERANCE = 60_000
const ANNOUNCE_EVERY = 1_000
/** Senders give up after a minute or more: until then it is better to say that it did not work. */
const BUS_LIMIT_MS = 25_000

/** Resolves when everything is durable on the bus. Throws TransientError when the bus does not answer in time, or the sender is gone. */
export function createAccept(receiver: { id: string; kind: string }, deps: AcceptDeps): (pushed: Pushed, signal: AbortSignal) => Promise<Accepted> {
  const { clock, log, bus } = deps
  const announcer = new Announcer({ bus, clock, log, run_id: null, order_tolerance: ORDER_TOLERANCE }, { key: `${receiver.id} push`, kind: receiver.kind, stream: receiver.id })
  const occurrences = createOccurrences()
  let announced_at = -Infinity

  /** Progress is news, not part of the answer: what the sender gave is durable already. */
  const announce = async (signal: AbortSignal): Promise<void> => {
    announcer.scanned(undefined)
    if (announcer.scanned_to === null || clock.now() - announced_at < ANNOUNCE_EVERY) return
    announced_at = clock.now()
    await announcer.send({}, signal).catch((error: unknown) => log.warn('the progress of a receiver could not be told', { receiver: receiver.id, error: messageOf(error) }))
  }

  return async (pushed, signal) => {
    const late = new AbortController()
    const done = new AbortController()
    void clock.sleep(BUS_LIMIT_MS, done.signal).then(() => late.abort())
    const limited = AbortSignal.any([signal, late.signal])
    try {
      const counts = noCounts()
      await publishBroken(pushed, counts, deps, limited)
      const times = await publishPage(pushed.records, occurrences, announcer.scanned_to, counts, { ...deps, run_id: null }, limited)
      addCounts(announcer.counts, counts)
      announcer.saw(times, pushed.records)
      await announce(limited)
      return { records: counts.records, accepted: counts.accepted, skipped: Object.fromEntries(counts.skipped), rejected: Object.fromEntries(counts.rejected) }
    } catch (error) {
      if (limited.aborted) throw new TransientError('the bus does not answer: nothing was acknowledged, send it again', { cause: error })
      throw error
    } finally {
      done.abort()
    }
  }
}

async function publishBroken({ broken }: Pushed, counts: Counts, deps: AcceptDeps, signal: AbortSignal): Promise<void> {
  if (broken.length === 0) return
  const outbox: Outbox = {}
  for (const { record, why, detail } of broken) {
    const outcome = deps.pipeline.refuse(record, { now: deps.clock.now(), run_id: null, occurrence: () => 0 }, why, detail, record.origin.source)
    if (outcome.kind !== 'reject') continue
    put(outbox, 'rejects.v1', outcome.reject)
    counts.records++
    counts.rejected.set(why, (counts.rejected.get(why) ?? 0) + 1)
  }
  await publishOutbox(outbox, { ...deps, run_id: null }, signal)
}

function addCounts(sum: Counts, counts: Counts): void {
  sum.records += counts.records
  sum.accepted += counts.accepted
  for (const name of ['skipped', 'rejected'] as const) for (const [why, count] of counts[name]) sum[name].set(why, (sum[name].get(why) ?? 0) + count)
}
