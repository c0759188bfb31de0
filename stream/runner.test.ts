import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { type EmbeddedBus, openEmbeddedBus } from '../bus/embedded.ts'
import { systemClock } from '../runtime/clock.ts'
import { createLogger, type Logger, silentLogger } from '../runtime/log.ts'
import { seededRandom } from '../runtime/random.ts'
import type { Finding } from '../schemas/findings.ts'
import type { Progress } from '../schemas/progress.ts'
import type { UsageEvent } from '../schemas/usage.ts'
import { cloudPlace, EXPENSIVE, usage } from '../test/eval/scenario.ts'
import { countingFold } from '../test/support/counting-fold.ts'
import { createMemoryState, type MemoryState } from '../test/support/memory-state.ts'
import type { RunnerOptions } from './options.ts'
import { RUNS_SCOPE, type RunMark, runDetectors } from './runner.ts'
import { SNAPSHOT_SCOPE } from './snapshot.ts'

const T = Date.UTC(2026, 8, 7)
const MINUTE = 60_000
const open: { bus: EmbeddedBus; directory: string }[] = []

afterEach(async () => {
  for (const { bus, directory } of open.splice(0)) {
    await bus.close()
    rmSync(directory, { recursive: true, force: true })
  }
})

function openBus(): EmbeddedBus {
  const directory = mkdtempSync(join(tmpdir(), 'runner-'))
  const bus = openEmbeddedBus({ directory }, { clock: systemClock, log: silentLogger })
  open.push({ bus, directory })
  return bus
}

function start(bus: EmbeddedBus, state: MemoryState, options: Partial<RunnerOptions> = {}, log: Logger = silentLogger) {
  const controller = new AbortController()
  const parts = { bus, state, detectors: [{ spec: countingFold, config: {} }], clock: systemClock, log, options: { lateness: 0, ...options } }
  const running = runDetectors(parts, controller.signal)
  return async () => {
    controller.abort()
    await running
  }
}

const event = (at: number, change: Partial<UsageEvent> = {}, n = 0): UsageEvent => {
  const key = (change.owner_ref ?? 'key:fp_0').slice(4)
  return { ...usage({ key, team: 'a', at, input: 10, output: 5, model: EXPENSIVE, place: cloudPlace(1, 1), n }), ...change }
}

const scanned = (to: number | null, change: Partial<Progress> = {}): Progress => ({
  stream: 's1',
  source: 'file',
  source_stream: 's1',
  run_id: null,
  at: T,
  scanned_to: to,
  last_event_time: to,
  completeness: null,
  blind: false,
  reason: null,
  done: false,
  records: 0,
  accepted: 0,
  skipped: 0,
  rejected: 0,
  late: 0,
  ...change,
})

async function findings(bus: EmbeddedBus): Promise<Finding[]> {
  const all: Finding[] = []
  await bus.replay('findings.v1', ({ records }) => void all.push(...records), AbortSignal.timeout(10_000))
  return all
}

async function until<R>(what: string, look: () => Promise<R | undefined | false>): Promise<R> {
  for (let tries = 0; tries < 400; tries++) {
    const result = await look()
    if (result !== undefined && result !== false) return result
    await systemClock.sleep(25)
  }
  throw new Error(`waited in vain for ${what}`)
}

const findingsOf = (bus: EmbeddedBus, count: number) =>
  until(`${count} findings`, async () => {
    const all = await findings(bus)
    return all.length >= count && all
  })

const markOf = (state: MemoryState, run_id: string) =>
  until(`the mark of ${run_id}`, async () => {
    const bytes = await state.get(RUNS_SCOPE, run_id)
    return bytes && (JSON.parse(Buffer.from(bytes).toString('utf8')) as RunMark)
  })

/** entity, minute → count, from the findings (the last one of an id wins). */
const counted = (all: readonly Finding[]): Record<string, unknown> =>
  Object.fromEntries(
    all.map(({ entity, window_start, evidence }): [string, unknown] => [`${entity} ${(window_start - T) / MINUTE}`, evidence['count']]).sort(([a], [b]) => (a < b ? -1 : 1)),
  )

describe('keyed runner on the embedded bus', () => {
  it('closes a minute when the collectors have passed it, not before', async () => {
    const bus = openBus()
    const stop = start(bus, createMemoryState())
    await bus.publish('usage.v1', [event(T + 1), event(T + 2), event(T + MINUTE + 1)])
    await bus.publish('progress.v1', [scanned(T + MINUTE)])
    expect(counted(await findingsOf(bus, 1))).toEqual({ 'key:fp_0 0': 2 })
    await bus.publish('usage.v1', [event(T + MINUTE + 2)])
    await bus.publish('progress.v1', [scanned(T + 2 * MINUTE)])
    expect(counted(await findingsOf(bus, 2))).toEqual({ 'key:fp_0 0': 2, 'key:fp_0 1': 2 })
    const [first] = await findings(bus)
    expect(first).toMatchObject({ detector: 'counting', detector_version: '1', run_id: null, backfill: true, freshness: { watermark: T + MINUTE, late: 0 } })
    await stop()
  })

  it('takes the slowest stream, but not one that is blind, done or silent', async () => {
    const bus = openBus()
    const stop = start(bus, createMemoryState(), { silent_after: 700 })
    await bus.publish('usage.v1', [event(T + 1), event(T + MINUTE + 1), event(T + 2 * MINUTE + 1)])
    await bus.publish('progress.v1', [scanned(null, { stream: 'unknown' }), scanned(T + MINUTE), scanned(T + 9 * MINUTE, { stream: 's2' })])
    await systemClock.sleep(300)
    expect(await findings(bus)).toEqual([])
    await bus.publish('progress.v1', [scanned(null, { stream: 'unknown', blind: true, reason: 'no permission' }), scanned(T + 9 * MINUTE, { stream: 's2' })])
    expect(counted(await findingsOf(bus, 1))).toEqual({ 'key:fp_0 0': 1 })
    const beat = until('the silent stream to be left out', async () => {
      await bus.publish('progress.v1', [scanned(T + 9 * MINUTE, { stream: 's2' })])
      const all = await findings(bus)
      return all.length >= 3 && all
    })
    const all = await beat
    expect(counted(all)).toEqual({ 'key:fp_0 0': 1, 'key:fp_0 1': 1, 'key:fp_0 2': 1 })
    expect(all.at(-1)?.freshness.completeness).toBeCloseTo(1 / 3)
    await stop()
  })

  it('counts copies once, leaves revisions out, and counts what is late without folding it', async () => {
    const bus = openBus()
    const stop = start(bus, createMemoryState())
    const events = Array.from({ length: 50 }, (_, n) => event(T + n, {}, n))
    await bus.publish('usage.v1', [...events, ...events])
    await bus.publish('usage.v1', [...events.slice(0, 10), event(T + 1, { revision: 1 }, 999)])
    await bus.publish('progress.v1', [scanned(T + MINUTE)])
    expect(counted(await findingsOf(bus, 1))).toEqual({ 'key:fp_0 0': 50 })
    await bus.publish('usage.v1', [event(T + 5, {}, 7777), event(T + MINUTE + 5)])
    await bus.publish('progress.v1', [scanned(T + 2 * MINUTE)])
    const [, second] = await findingsOf(bus, 2)
    expect(second?.evidence).toMatchObject({ count: 1, late: 1 })
    expect(second?.freshness.late).toBe(1)
    await stop()
  })

  it('keeps runs apart, ends them with a mark, and drops their state', async () => {
    const bus = openBus()
    const state = createMemoryState()
    const stop = start(bus, state)
    const same = event(T + 1, {}, 1)
    await bus.publish('progress.v1', [scanned(null, { run_id: 'r1' })])
    await bus.publish('usage.v1', [same, { ...same, run_id: 'r1' }, event(T + 2, { run_id: 'r1' }, 2), event(T + 3 * MINUTE, { run_id: 'r1' }, 3)])
    await bus.publish('progress.v1', [scanned(T + 3 * MINUTE, { run_id: 'r1', done: true })])
    expect(await markOf(state, 'r1')).toMatchObject({ run_id: 'r1', events: 3, findings: 2, late: 0, duplicates: 0 })
    const all = await findings(bus)
    expect(counted(all)).toEqual({ 'key:fp_0 0': 2, 'key:fp_0 3': 1 })
    expect(all.every(({ run_id, backfill }) => run_id === 'r1' && backfill)).toBe(true)
    await stop()
    expect([...(await state.list(SNAPSHOT_SCOPE)).keys()].filter((key) => key.includes('r1'))).toEqual([])
  })

  it('waits with progress until everything before it is folded', async () => {
    const bus = openBus()
    const state = createMemoryState()
    const events = Array.from({ length: 20_000 }, (_, n) => event(T + n * 30, { owner_ref: `key:fp_${n % 7}`, api_key_id: `fp_${n % 7}`, run_id: 'r2' }, n))
    await bus.publish('usage.v1', events)
    await bus.publish('progress.v1', [scanned(T + 20_000 * 30, { run_id: 'r2', done: true })])
    const stop = start(bus, state)
    expect(await markOf(state, 'r2')).toMatchObject({ events: 20_000, late: 0 })
    const total = (await findings(bus)).reduce((sum, { evidence }) => sum + Number(evidence['count']), 0)
    expect(total).toBe(20_000)
    await stop()
  })

  it('parks an event that a detector cannot take and goes on', async () => {
    const bus = openBus()
    const stop = start(bus, createMemoryState())
    await bus.publish('usage.v1', [event(T + 1), event(T + 2, { model: 'breaks' }), event(T + 3)])
    await bus.publish('progress.v1', [scanned(T + MINUTE)])
    expect(counted(await findingsOf(bus, 1))).toEqual({ 'key:fp_0 0': 2 })
    const rejects: unknown[] = []
    await bus.replay('rejects.v1', ({ records }) => void rejects.push(...records), AbortSignal.timeout(5000))
    expect(rejects).toMatchObject([{ stage: 'detect', plugin: 'counting', reason: 'detector-failed', topic: 'usage.v1' }])
    await stop()
  })

  it.each([1, 2, 3])('gives the same findings after a crash that lost the last snapshots (%i)', async (seed) => {
    const bus = openBus()
    const state = createMemoryState()
    const random = seededRandom(seed)
    const expected: Record<string, number> = {}
    let n = 0
    const publishMinutes = async (from: number, to: number) => {
      for (let minute = from; minute < to; minute++) {
        const events = Array.from({ length: 40 }, () => {
          const owner_ref = `key:fp_${Math.floor(random() * 5)}`
          expected[`${owner_ref} ${minute}`] = (expected[`${owner_ref} ${minute}`] ?? 0) + 1
          return event(T + minute * MINUTE + Math.floor(random() * MINUTE), { owner_ref, api_key_id: owner_ref.slice(4) }, n++)
        })
        await bus.publish('usage.v1', [...events, ...events.slice(0, 5)])
        await bus.publish('progress.v1', [scanned((minute + 1) * MINUTE + T)])
      }
    }
    const first = start(bus, state, { snapshot_interval: 1 })
    await publishMinutes(0, 5)
    await findingsOf(bus, 10)
    state.loseWrites(SNAPSHOT_SCOPE) // the process dies some time after this, its clean stop included
    await publishMinutes(5, 9)
    await findingsOf(bus, 25)
    await first()
    state.keepWrites()
    const second = start(bus, state)
    await publishMinutes(9, 12)
    await until('all minutes', async () => Object.keys(counted(await findings(bus))).length === Object.keys(expected).length)
    await systemClock.sleep(200)
    const all = await findings(bus)
    expect(counted(all)).toEqual(Object.fromEntries(Object.entries(expected).sort(([a], [b]) => (a < b ? -1 : 1))))
    const contents = new Map<string, unknown>()
    for (const { finding_id, revision, evidence } of all) {
      const before = contents.get(`${finding_id} ${revision}`)
      if (before !== undefined) expect(evidence).toEqual(before)
      contents.set(`${finding_id} ${revision}`, evidence)
    }
    await second()
  })

  it('says loudly that it owns only a part', async () => {
    const bus = openBus()
    const said: string[] = []
    const log = createLogger({ level: 'error', write: (line) => void said.push(line) })
    const stopFirst = start(bus, createMemoryState(), {}, log)
    const stopSecond = start(bus, createMemoryState(), {}, log)
    await until('the complaint', () => Promise.resolve(said.some((line) => line.includes('run exactly one process with the role detect'))))
    await stopFirst()
    await stopSecond()
  })

  it('evicts idle keys to the snapshot and brings them back', async () => {
    const bus = openBus()
    const state = createMemoryState()
    const stop = start(bus, state, { max_resident_keys: 10, snapshot_interval: 1 })
    const round = (n: number) => Array.from({ length: 60 }, (_, key) => event(T + 1 + n, { owner_ref: `key:fp_${key}`, api_key_id: `fp_${key}` }, n))
    for (let n = 0; n < 3; n++) {
      await bus.publish('usage.v1', round(n))
      await systemClock.sleep(300)
    }
    await bus.publish('progress.v1', [scanned(T + MINUTE)])
    const all = await findingsOf(bus, 60)
    expect(all).toHaveLength(60)
    expect(all.every(({ evidence }) => evidence['count'] === 3)).toBe(true)
    await stop()
  })
})
