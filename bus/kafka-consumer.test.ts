/** What the real client does too seldom to wait for it: falling silent, crashing, handing over a batch from before a seek. */
import { describe, expect, it } from 'vitest'
import { systemClock } from '../runtime/clock.ts'
import { TransientError, UsageError } from '../runtime/errors.ts'
import { silentLogger } from '../runtime/log.ts'
import { usageOf } from '../test/contract/bus-events.ts'
import type { Consumer } from './bus.ts'
import { encode } from './decode.ts'
import type { BatchSession, GroupClient, GroupEvents } from './kafka-client.ts'
import { consumeKafka, type KafkaConsumerDeps } from './kafka-consumer.ts'

const HOME = { topic: 'usage.v1', partition: 0 } as const
const fetched = (asked: bigint, offsets: readonly number[]) => ({
  ...HOME,
  asked,
  records: offsets.map((offset) => ({ offset: BigInt(offset), value: encode('usage.v1', usageOf('a', offset)) })),
})

/** A client that does what the script says; `life` counts how often it was made anew. */
function scripted(script: (events: GroupEvents, life: number, session: BatchSession) => Promise<void>) {
  const seen = { lives: 0, closed: 0, seeks: [] as bigint[], commits: [] as bigint[], resolved: [] as bigint[] }
  const session: BatchSession = {
    heartbeat: async () => {},
    commit: async (next) => void seen.commits.push(next),
    resolve: (last) => void seen.resolved.push(last),
  }
  const open = (_group: string, _topics: readonly string[], events: GroupEvents): GroupClient => {
    seen.lives += 1
    const life = seen.lives
    return {
      start: () => script(events, life, session),
      seek: (_, offset) => void seen.seeks.push(offset),
      pause: () => {},
      resume: () => {},
      close: async () => void (seen.closed += 1),
    }
  }
  return { open, seen }
}

function run(open: KafkaConsumerDeps['open'], consumer: Consumer<'usage.v1'>, signal: AbortSignal, over: Partial<KafkaConsumerDeps> = {}): Promise<void> {
  const deps: KafkaConsumerDeps = {
    clock: systemClock,
    log: silentLogger,
    delivery: { clock: systemClock, log: silentLogger, publishRejects: async () => {} },
    open,
    ranges: async () => new Map([[0, { low: 0n, high: 100n }]]),
    explain: (error) => (error instanceof UsageError ? error : new TransientError(String(error))),
    waiting: () => {},
    answering: () => {},
    stalled_after_ms: 60_000,
    ...over,
  }
  return consumeKafka({ topics: ['usage.v1'], group: 'g', consumer, max_records: 100 }, deps, signal)
}

describe('consumeKafka', () => {
  it('ends with an error when the client falls silent', async () => {
    const { open, seen } = scripted(async (events) => events.joined('m', [HOME]))
    await expect(run(open, { handle: async () => {} }, new AbortController().signal, { stalled_after_ms: 200 })).rejects.toThrow('silent')
    expect(seen.closed).toBe(1)
  })

  it('replaces a crashed client, tells the consumer, and gives up on what cannot be cured', async () => {
    const calls: string[] = []
    const consumer: Consumer<'usage.v1'> = {
      assigned: async () => void calls.push('assigned'),
      revoked: async () => void calls.push('revoked'),
      handle: async ({ first }) => void calls.push(`handled ${first}`),
    }
    const { open, seen } = scripted(async (events, life, session) => {
      events.joined(`m${life}`, [HOME])
      await events.batch(fetched(BigInt(life), [life]), session)
      events.crashed(life < 3 ? new Error('connection lost') : new UsageError('wrong password'))
    })
    await expect(run(open, consumer, new AbortController().signal)).rejects.toThrow('wrong password')
    expect(calls).toEqual([1, 2, 3].flatMap((life) => ['assigned', `handled ${life}`, 'revoked']))
    expect(seen).toMatchObject({ lives: 3, closed: 3, commits: [2n, 3n, 4n], resolved: [1n, 2n, 3n] })
  })

  it('drops a batch that was fetched before the seek, and seeks again', async () => {
    const stop = new AbortController()
    const firsts: bigint[] = []
    const { open, seen } = scripted(async (events, _, session) => {
      events.joined('m', [HOME])
      await events.batch(fetched(50n, [50, 51]), session)
      await events.batch(fetched(10n, [10, 11]), session)
      await events.batch(fetched(12n, [12]), session)
      stop.abort()
    })
    await run(open, { assigned: async () => [{ ...HOME, offset: 10n }], handle: async ({ first }) => void firsts.push(first) }, stop.signal)
    expect(firsts).toEqual([10n, 12n])
    expect(seen.seeks).toEqual([10n, 10n])
    expect(seen.commits).toEqual([12n, 13n])
  })

  it('commits nothing when the group says in mid-batch that partitions move', async () => {
    const stop = new AbortController()
    const { open, seen } = scripted(async (events, _, session) => {
      events.joined('m', [HOME])
      const moving = { ...session, heartbeat: () => Promise.reject(new Error('rebalancing')) }
      await expect(events.batch(fetched(0n, [0]), moving)).rejects.toThrow('rebalancing')
      stop.abort()
    })
    const handle: Consumer<'usage.v1'>['handle'] = (_, signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve()))
    await run(open, { handle }, stop.signal)
    expect(seen).toMatchObject({ commits: [], resolved: [] })
  })

  it('goes on where it was when the same member gets its partitions again', async () => {
    const stop = new AbortController()
    const { open, seen } = scripted(async (events, _, session) => {
      events.joined('m', [HOME])
      await events.batch(fetched(0n, [0, 1]), session)
      events.rebalancing()
      events.joined('m', [HOME])
      await events.batch(fetched(2n, [2]), session)
      stop.abort()
    })
    const assigned: number[] = []
    await run(open, { assigned: async (partitions) => void assigned.push(partitions.length), handle: async () => {} }, stop.signal)
    expect(assigned).toEqual([1])
    expect(seen.seeks).toEqual([2n])
    expect(seen.commits).toEqual([2n, 3n])
  })
})
