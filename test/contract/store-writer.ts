/** The writer loop, from the bus into the store. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Bus } from '../../bus/bus.ts'
import { openEmbeddedBus } from '../../bus/embedded.ts'
import { type Clock, systemClock } from '../../runtime/clock.ts'
import { TransientError } from '../../runtime/errors.ts'
import { createLogger, silentLogger } from '../../runtime/log.ts'
import type { Store } from '../../store/store.ts'
import { runWriter } from '../../store/writer.ts'
import { samples, usageSample } from './store-samples.ts'

export function describeWriter(name: string, store: () => Store): void {
  describe(`writer: ${name}`, () => {
    let bus: Bus
    let next = 1000
    const running: { abort: AbortController; ended: Promise<void> }[] = []
    beforeAll(async () => {
      bus = openEmbeddedBus({ directory: mkdtempSync(join(tmpdir(), 'bus-')) }, { clock: systemClock, log: silentLogger })
      await bus.prepare(new AbortController().signal)
    })
    afterEach(async () => {
      for (const { abort, ended } of running.splice(0)) {
        abort.abort()
        await ended
      }
    })
    afterAll(() => bus.close())

    const start = (over: Store = store(), log = silentLogger, clock: Clock = systemClock) => {
      const abort = new AbortController()
      const ended = runWriter({ bus, store: over, clock, log }, abort.signal)
      running.push({ abort, ended })
      return { abort, ended }
    }
    const events = (n: number) => Array.from({ length: n }, () => usageSample(next++, { output_tokens: 10, list_cost_usd: null }))
    const countOf = async (where = '1') => Number((await store().query<{ n: string }>(`SELECT count() AS n FROM usage_events FINAL WHERE ${where}`))[0]?.n)
    const until = async (done: () => Promise<boolean>, ms = 20_000) => {
      const end = systemClock.now() + ms
      while (!(await done())) {
        if (systemClock.now() > end) throw new Error('it did not happen in time')
        await systemClock.sleep(50)
      }
    }
    const drained = async () => (await bus.lag('store')).every(({ committed, end }) => end === 0n || committed === end)

    it('stores every topic, in one insert where batches wait together, within half a second', async () => {
      start()
      for (const topic of Object.keys(samples) as (keyof typeof samples)[]) await bus.publish(topic, [samples[topic] as never])
      await until(drained)
      const from = systemClock.now()
      await bus.publish('usage.v1', events(3))
      const before = await countOf()
      await until(async () => (await countOf()) > before || before >= 4)
      expect(systemClock.now() - from).toBeLessThan(5_000)
      expect(await store().query('SELECT count() AS n FROM alerts')).toEqual([{ n: '1' }])
      expect(await store().query('SELECT count() AS n FROM progress_log FINAL')).toEqual([{ n: '1' }])
    })

    it('stores many events exactly once, although half of them come twice', async () => {
      start()
      const before = await countOf()
      const many = events(8000)
      for (let at = 0; at < many.length; at += 1000) await bus.publish('usage.v1', many.slice(at, at + 1000))
      await bus.publish('usage.v1', many.slice(2000, 6000))
      await until(drained)
      expect((await countOf()) - before).toBe(8000)
    })

    it('goes on when the clock is set back by an hour while rows wait', async () => {
      let calls = 0
      start(store(), silentLogger, { ...systemClock, now: () => systemClock.now() - (calls++ === 0 ? 0 : 3_600_000) })
      const before = await countOf()
      await bus.publish('usage.v1', events(3))
      await until(drained)
      expect((await countOf()) - before).toBe(3)
    })

    it('takes out a row that the store refuses, stores the rest and parks the row with its reason', async () => {
      await store().command("ALTER TABLE usage_events ADD CONSTRAINT IF NOT EXISTS no_evil CHECK service IS NULL OR service != 'evil'")
      try {
        start()
        const before = await countOf()
        const batch = events(500)
        for (const bad of [0, 250, 251, 499]) batch[bad] = { ...(batch[bad] ?? usageSample(0)), service: 'evil' }
        await bus.publish('usage.v1', batch)
        await until(async () => Number((await store().query<{ n: string }>("SELECT count() AS n FROM rejects WHERE stage = 'store'"))[0]?.n) === 4)
        expect((await countOf()) - before).toBe(496)
        const [reject] = await store().query<{ reason: string; topic: string; payload: string }>("SELECT reason, topic, payload FROM rejects WHERE stage = 'store' LIMIT 1")
        expect(reject).toMatchObject({ reason: 'store-refused', topic: 'usage.v1' })
        expect(JSON.parse(reject?.payload ?? '')).toMatchObject({ service: 'evil' })
        await until(drained)
      } finally {
        await store().command('ALTER TABLE usage_events DROP CONSTRAINT IF EXISTS no_evil')
      }
    })

    it('waits for a store that is away, says so once, and loses nothing', async () => {
      const lines: string[] = []
      let away = true
      const flaky: Store = {
        ...store(),
        insert: async (...args) => {
          if (away) throw new TransientError('away')
          await store().insert(...args)
        },
      }
      start(flaky, createLogger({ write: (line) => lines.push(line) }))
      const before = await countOf()
      await bus.publish('usage.v1', events(50))
      await until(async () => lines.some((line) => line.includes('waiting for the store')))
      await systemClock.sleep(500)
      expect(await drained()).toBe(false)
      away = false
      await until(drained)
      expect((await countOf()) - before).toBe(50)
      expect(lines.filter((line) => line.includes('waiting for the store')).length).toBe(1)
      expect(lines.filter((line) => line.includes('answers again')).length).toBe(1)
    })

    it('stops with an error, uncommitted, when waiting cannot help', async () => {
      const broken: Store = { ...store(), insert: () => store().insert('no_such_table', ['a'], ['[1]']) }
      const { ended } = start(broken)
      running.pop()
      const refused = expect(ended).rejects.toThrow(/no_such_table/)
      const before = await countOf()
      await bus.publish('usage.v1', events(5))
      await refused
      expect(await drained()).toBe(false)
      start()
      await until(drained)
      expect((await countOf()) - before).toBe(5)
    })

    it('splits an insert that would touch too many months', async () => {
      start()
      const before = await countOf("event_time < toDateTime64('2026-06-01', 3) AND source_stream = 'months'")
      await bus.publish(
        'usage.v1',
        Array.from({ length: 130 }, (_, month) => usageSample(next++, { event_time: Date.UTC(2015, month, 3), source_stream: 'months' })),
      )
      await until(drained)
      expect((await countOf("source_stream = 'months'")) - before).toBe(130)
    })
  })
}
