/** What retention does while a topic is read from its beginning. */
import { expect, it } from 'vitest'
import { systemClock } from '../runtime/clock.ts'
import { silentLogger } from '../runtime/log.ts'
import { usageOf } from '../test/contract/bus-events.ts'
import { encode } from './decode.ts'
import type { BatchSession, GroupEvents, OpenGroup, Range } from './kafka-client.ts'
import { replayKafka } from './kafka-replay.ts'

const HOME = { topic: 'usage.v1', partition: 0 } as const
const session: BatchSession = { heartbeat: async () => {}, commit: async () => {}, resolve: () => {} }
const never = new AbortController().signal

/** Replays while the broker says one range at the call and another one later; gives the offsets that came. */
async function replayed(then: Range, script: (events: GroupEvents) => Promise<void>): Promise<{ offsets: number[]; seeks: bigint[] }> {
  let asked = 0
  const offsets: number[] = []
  const seeks: bigint[] = []
  const open: OpenGroup = (_group, _topics, events) => ({
    start: () => script(events),
    seek: (_, offset) => void seeks.push(offset),
    pause: () => {},
    resume: () => {},
    close: async () => {},
  })
  const deps = {
    clock: systemClock,
    log: silentLogger,
    delivery: { clock: systemClock, log: silentLogger, publishRejects: async () => {} },
    open,
    ranges: async () => new Map([[0, asked++ === 0 ? { low: 0n, high: 10n } : then]]),
    explain: (error: unknown) => error as Error,
    waiting: () => {},
  }
  await replayKafka('usage.v1', ({ records }) => void offsets.push(...records.map(({ input_tokens }) => input_tokens ?? -1)), deps, never)
  return { offsets, seeks }
}

const fetched = (asked: number, until: number) => ({
  ...HOME,
  asked: BigInt(asked),
  records: Array.from({ length: until - asked }, (_, n) => ({ offset: BigInt(asked + n), value: encode('usage.v1', usageOf('a', asked + n)) })),
})

it('ends when everything was deleted before it was read, although no batch ever comes', async () => {
  expect(await replayed({ low: 10n, high: 10n }, async (events) => events.joined('m', [HOME]))).toEqual({ offsets: [], seeks: [0n, 10n] })
})

it('goes on behind what was deleted', async () => {
  const found = await replayed({ low: 6n, high: 12n }, async (events) => {
    events.joined('m', [HOME])
    await events.batch(fetched(0, 3), session)
    // The client has gone to the beginning by itself; nobody knows of it yet.
    for (let tries = 0; tries < 200; tries++) await events.batch(fetched(6, 12), session)
  })
  expect(found).toEqual({ offsets: [0, 1, 2, 6, 7, 8, 9], seeks: [0n, 6n] })
})
