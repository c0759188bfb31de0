import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Bus } from '../bus/bus.ts'
import { openEmbeddedBus } from '../bus/embedded.ts'
import { systemClock } from '../runtime/clock.ts'
import { PermanentError } from '../runtime/errors.ts'
import { silentLogger } from '../runtime/log.ts'
import { seededRandom } from '../runtime/random.ts'
import type { Fragment } from '../schemas/fragments.ts'
import type { UsageEvent } from '../schemas/usage.ts'
import { createMemoryState } from '../test/support/memory-state.ts'
import { ManualClock, MemoryBus, noPrices } from '../test/support/ingest.ts'
import { createFormats } from './formats/index.ts'
import type { Held } from './join-held.ts'
import { type JoinOptions, runJoin, RunJoin } from './join.ts'
import { createPipeline } from './pipeline.ts'
import { noCounts, publishPage } from './publish.ts'
import { createOccurrences } from './occurrences.ts'

const AT = Date.UTC(2026, 2, 2, 10)
const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-join-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const pipeline = createPipeline({
  formats: createFormats(),
  hash_key: 'a-key-for-tests-only',
  attribution: [{ owner: 'subscription:team-1', team: 'search', service: null, cost_center: null, contacts: [], from: null, until: null } as never],
  rater: noPrices,
  privacy: { truncate_ip: '/24+/48', user_ids: 'hash' },
})
const deps = { clock: systemClock, log: silentLogger }

const rows = (n: number) => {
  const both = { TimeGenerated: new Date(AT + n).toISOString(), CorrelationId: `c-${n}` }
  return {
    llm: {
      ...both,
      DeploymentName: 'chat',
      ModelName: 'gpt-4o',
      PromptTokens: 100 + n,
      CompletionTokens: 1,
      TotalTokens: 101 + n,
      SequenceNumber: 0,
      Type: 'ApiManagementGatewayLlmLog',
    },
    gateway: {
      ...both,
      ApimSubscriptionId: 'team-1',
      UserId: 'ann',
      CallerIpAddress: '203.0.113.77',
      ResponseCode: 200,
      Method: 'POST',
      Url: 'https://gw.example/openai/deployments/chat/chat/completions',
      Type: 'ApiManagementGatewayLogs',
    },
  }
}
const record = (row: unknown, source = 'azure-monitor') => ({
  id: JSON.stringify(row),
  at: AT,
  ingested_at: AT + 5_000,
  body: JSON.stringify(row),
  origin: { source, stream: 'prod/table' },
})

/** What the collector makes of the rows. */
function fragments(...all: unknown[]): Fragment[] {
  return all.flatMap((row) => {
    const outcome = pipeline.process(record(row), { now: AT + 60_000, run_id: null, occurrence: () => 0 })
    return outcome.kind === 'accept' ? outcome.fragments : []
  })
}

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await what()); tries++) {
    if (tries > 500) throw new Error('gave up')
    await systemClock.sleep(10)
  }
}

async function eventsOn(bus: Bus): Promise<UsageEvent[]> {
  const events: UsageEvent[] = []
  await bus.replay('usage.v1', (batch) => void events.push(...batch.records), new AbortController().signal)
  return events
}

function start(bus: Bus, state: ReturnType<typeof createMemoryState>, options: Partial<JoinOptions> = {}, held?: Held): () => Promise<void> {
  const stop = new AbortController()
  const running = runJoin({ ...deps, bus, state, pipeline, ...(held === undefined ? {} : { held }), options: { save_every: 1, tick_every: 10, ...options } }, stop.signal)
  return async () => {
    stop.abort()
    await running.catch(() => {})
  }
}

describe('the join', () => {
  it('completes an event as the collector does: clean, attributed, and private on the bus already', async () => {
    const bus = openEmbeddedBus({ directory: path.join(directory, 'whole') }, deps)
    const parts = fragments(rows(1).llm, rows(1).gateway)
    expect(parts.find(({ part }) => part === 'gateway')?.fields).toMatchObject({
      client_ip: '203.0.113.0',
      client_ip_prefix: 24,
      source: 'azure-monitor',
      delivered_time: AT + 5_000,
    })
    expect(JSON.stringify(parts)).not.toContain('ann')
    const stop = start(bus, createMemoryState())
    await bus.publish('fragments.v1', parts)
    await until(async () => (await eventsOn(bus)).length > 0)
    const [event] = await eventsOn(bus)
    expect(event).toMatchObject({
      owner_ref: 'subscription:team-1',
      team_id: 'search',
      api_key_id: 'team-1',
      source: 'azure-monitor',
      source_stream: 'prod/table',
      format: 'azure-apim',
      delivered_time: AT + 5_000,
      client_ip: '203.0.113.0',
      input_tokens: 101,
      revision: 0,
      run_id: null,
    })
    expect(event?.user_id).toMatch(/^user_[0-9a-f]{32}$/)
    await stop()
    await bus.close()
  })

  it('tells a half after its time, and revises it when the other side comes, over a restart', async () => {
    const bus = openEmbeddedBus({ directory: path.join(directory, 'half') }, deps)
    const state = createMemoryState()
    const first = start(bus, state, { wait: 50 })
    await bus.publish('fragments.v1', fragments(rows(1).llm, rows(2).gateway))
    await until(async () => (await eventsOn(bus)).length === 2)
    await until(async () => (await bus.lag('join')).reduce((sum, { committed }) => sum + (committed ?? 0n), 0n) === 2n)
    await first()
    const second = start(bus, state, { wait: 50 })
    await bus.publish('fragments.v1', fragments(rows(1).gateway, rows(2).llm, rows(1).llm))
    await until(async () => (await eventsOn(bus)).length === 4)
    await second()
    const events = (await eventsOn(bus)).sort((a, b) => (a.request_id ?? '').localeCompare(b.request_id ?? '') || a.revision - b.revision)
    expect(events.map(({ request_id, revision, flags }) => [request_id, revision, flags])).toEqual([
      ['c-1', 0, ['caller-missing']],
      ['c-1', 1, []],
      ['c-2', 0, ['tokens-missing']],
      ['c-2', 1, []],
    ])
    expect(events[0]?.event_id).toBe(events[1]?.event_id)
    expect(events[0]?.event_time).toBe(events[1]?.event_time)
    await bus.close()
  })

  it('does not put a half in the place of what the store holds, but revises it once it is whole', async () => {
    const bus = openEmbeddedBus({ directory: path.join(directory, 'held') }, deps)
    const asked: string[][] = []
    const stop = start(bus, createMemoryState(), { wait: 20 }, async (events) => (asked.push(events.map(({ event_id }) => event_id)), new Set(asked.flat())))
    await bus.publish('fragments.v1', fragments(rows(1).gateway))
    await until(() => asked.length === 1)
    await bus.publish('fragments.v1', fragments(rows(2).llm, rows(2).gateway, rows(1).llm))
    await until(async () => (await eventsOn(bus)).length === 2)
    const events = (await eventsOn(bus)).sort((a, b) => a.revision - b.revision)
    expect(events.map(({ request_id, revision, flags }) => [request_id, revision, flags])).toEqual([
      ['c-2', 0, []],
      ['c-1', 1, []],
    ])
    expect(asked).toEqual([[events[1]?.event_id]])
    await stop()
    await bus.close()
  })

  it('gives what the bus refused again, from what is durable', async () => {
    const bus = openEmbeddedBus({ directory: path.join(directory, 'refused') }, deps)
    let refusals = 0
    const refusing = new Proxy(bus, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name)
        if (name === 'publish' && refusals++ < 2) return () => Promise.reject(new PermanentError('no'))
        return typeof member === 'function' ? member.bind(target) : member
      },
    })
    await bus.publish('fragments.v1', fragments(rows(1).llm, rows(1).gateway))
    const stop = start(refusing, createMemoryState())
    await until(async () => (await eventsOn(bus)).length > 0)
    expect(await eventsOn(bus)).toMatchObject([{ request_id: 'c-1', revision: 0, flags: [] }])
    await stop()
    await bus.close()
  })

  it('keeps what it has taken and not yet saved when another event of the partition is refused', async () => {
    const bus = openEmbeddedBus({ directory: path.join(directory, 'unsaved') }, deps)
    const refused = { left: 2 }
    const refusing = new Proxy(bus, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name)
        if (name === 'publish' && refused.left > 0) return async () => (refused.left--, Promise.reject(new PermanentError('no')))
        return typeof member === 'function' ? member.bind(target) : member
      },
    })
    const state = createMemoryState()
    const gate = { opened: Promise.resolve(), waiting: 0 }
    const slow = { ...state, put: async (...given: Parameters<typeof state.put>) => (gate.waiting++, await gate.opened, state.put(...given)) }
    let now = AT
    let tick = Promise.withResolvers<void>()
    const clock = {
      now: () => now,
      sleep: (ms: number, signal?: AbortSignal) => {
        if (ms !== 77) return systemClock.sleep(Math.min(Math.max(0, ms), 5), signal)
        signal?.addEventListener('abort', () => tick.resolve())
        return tick.promise
      },
    }
    const nextTick = async () => {
      tick.resolve()
      tick = Promise.withResolvers<void>()
      await systemClock.sleep(50)
    }
    const stop = new AbortController()
    const running = runJoin({ clock, log: silentLogger, bus: refusing, state: slow, pipeline, options: { wait: 100_000, tick_every: 77, save_every: 1 } }, stop.signal)
    // The same request in two runs of ingest: two requests in one partition.
    const [first = [], second = []] = ['r-1', 'r-2'].map((run_id) => fragments(rows(1).gateway).map((part) => ({ ...part, run_id })))
    await bus.publish('fragments.v1', first)
    await until(async () => (await state.list('join')).size === 1)
    now += 60_000
    const opening = Promise.withResolvers<void>()
    gate.opened = opening.promise
    gate.waiting = 0
    await bus.publish('fragments.v1', second)
    await until(() => gate.waiting === 1)
    // The first has waited long enough and is refused, while the second is on its way into the store.
    now += 50_000
    await nextTick()
    await until(() => refused.left === 0)
    await nextTick()
    opening.resolve()
    const told = async (count: number) => (await nextTick(), (await eventsOn(bus)).length === count)
    await until(() => told(1))
    now += 60_000
    await until(() => told(2))
    expect((await eventsOn(bus)).map(({ run_id }) => run_id)).toEqual(['r-1', 'r-2'])
    stop.abort()
    await running.catch(() => {})
    await bus.close()
  })

  it('loses nothing when it is cut off between any two steps', { timeout: 60_000 }, async () => {
    const random = seededRandom(11)
    const bus = openEmbeddedBus({ directory: path.join(directory, 'cuts') }, deps)
    const state = createMemoryState()
    const requests = 120
    const parts = Array.from({ length: requests }, (_, n) => fragments(rows(n).llm, rows(n).gateway))
      .flat()
      .map((part) => ({ part, order: random() }))
      .sort((a, b) => a.order - b.order)
      .map(({ part }) => part)
    let cuts = 0
    for (let from = 0, turn = 0; turn < 25; turn++) {
      // The steps that reach the outside: the event on the bus, the parts in the store. After the cut nothing goes out any more.
      let left = turn < 24 ? Math.floor(random() * 5) : Infinity
      const dead = Promise.withResolvers<void>()
      const ended = Promise.withResolvers<void>()
      const cut = async (does: boolean, work: () => Promise<void>): Promise<void> => {
        if (left > 0) return (left--, work())
        if (left === 0) {
          left = -1
          if (does) await work()
          cuts++
          dead.resolve()
        }
        await ended.promise
        throw new Error('power cut')
      }
      const done = random() < 0.5
      const stop = start(
        new Proxy(bus, {
          get: (target, name) => {
            // Slowly, so that the store is written to while an event is on its way.
            if (name === 'publish') return (topic: 'usage.v1', values: UsageEvent[]) => systemClock.sleep(5).then(() => cut(done, () => target.publish(topic, values)))
            const member: unknown = Reflect.get(target, name)
            return typeof member === 'function' ? member.bind(target) : member
          },
        }),
        { ...state, put: (scope, entries) => cut(done, () => state.put(scope, entries)) },
      )
      const next = turn < 24 ? Math.min(parts.length, from + 12) : parts.length
      await bus.publish('fragments.v1', parts.slice(from, next))
      from = next
      if (turn < 24) await Promise.race([dead.promise, systemClock.sleep(150)])
      else await until(async () => new Set((await eventsOn(bus)).map(({ event_id }) => event_id)).size === requests)
      const stopped = stop()
      ended.resolve()
      await stopped
    }
    const events = await eventsOn(bus)
    expect(cuts).toBeGreaterThan(10)
    // Repeated, perhaps, but never with another content: the id absorbs it.
    expect(new Set(events.map(({ request_id, revision, input_tokens, flags }) => JSON.stringify([request_id, revision, input_tokens, flags]))).size).toBe(requests)
    expect(events.every(({ revision, flags }) => revision === 0 && flags.length === 0)).toBe(true)
    await bus.close()
  })
})

describe('the join of a run', () => {
  it('joins in the run and tells its halves at its end', async () => {
    const memory = new MemoryBus()
    const join = new RunJoin(pipeline)
    const run = { pipeline, bus: memory.bus, clock: new ManualClock(AT + 60_000), log: silentLogger, run_id: 'run', join }
    const counts = noCounts()
    const read = (...all: unknown[]) =>
      publishPage(
        all.map((row) => record(row, 'file')),
        createOccurrences(),
        null,
        counts,
        run,
        new AbortController().signal,
      )
    await read(rows(1).llm, rows(2).gateway, rows(3).llm)
    await read(rows(1).gateway, { ...rows(4).gateway, Url: 'https://gw.example/orders' })
    expect(memory.of('fragments.v1')).toEqual([])
    expect(memory.of('usage.v1')).toMatchObject([{ request_id: 'c-1', run_id: 'run', flags: [] }])
    expect((await join.flush(AT)).events.map(({ event }) => event.flags)).toEqual([['tokens-missing'], ['caller-missing']])
    expect((await join.flush(AT)).events).toEqual([])
    expect(counts).toMatchObject({ records: 5, accepted: 5, events: { 'usage.v1': 1 } })
  })
})
