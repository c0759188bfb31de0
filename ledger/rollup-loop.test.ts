/** The loop over a real store: pace, settling, two at once, and a kill between any two steps. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadPriceBook } from '../pricing/price-book.ts'
import { createRater } from '../pricing/rate.ts'
import { systemClock } from '../runtime/clock.ts'
import { silentLogger } from '../runtime/log.ts'
import type { Store } from '../store/store.ts'
import { insertUsage, openLedgerStore, usage } from '../test/support/ledger-store.ts'
import { loadPrices } from './prices.ts'
import { isRollupCurrent, rebuildDirtyDays, type RollupOptions, runRollup } from './rollup.ts'

const rater = createRater(loadPriceBook())
const event = (id: string, day: number) =>
  usage(id, { event_time: Date.UTC(2026, 9, day, 8, Number(id.replace(/\D/g, '')) % 60), input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 100 }, rater)
const sums = async (store: Store, table: string, day: string) =>
  (await store.query<{ d: string; n: string; c: string }>(`SELECT toString(${day}) AS d, sum(requests) AS n, toString(sum(cost)) AS c FROM ${table} GROUP BY d ORDER BY d`)).map(
    (row) => `${row.d} ${row.n} ${row.c}`,
  )
const totals = (store: Store) => sums(store, 'usage_daily', 'day')
const quarters = (store: Store) => sums(store, 'usage_15m', 'toDate(bucket)')
const pause = (ms: number) => systemClock.sleep(ms)

describe('the loop', () => {
  let store: Store
  let close: () => Promise<void>
  beforeEach(async () => {
    ;({ store, close } = await openLedgerStore())
    await loadPrices(store, loadPriceBook())
  })
  afterEach(() => close())
  const start = (options: Partial<RollupOptions>) => {
    const stop = new AbortController()
    const running = runRollup({ store, clock: systemClock, log: silentLogger, options }, stop.signal)
    return { stop: () => (stop.abort(), running) }
  }
  const until = async (what: () => Promise<boolean>) => {
    for (let tries = 0; tries < 800; tries++) {
      if (await what()) return
      await pause(25)
    }
    throw new Error('did not happen within 20 s')
  }

  it('rebuilds what is written, once more after it has settled, and then rests', async () => {
    const loop = start({ poll_ms: 20, settle_ms: 400, min_interval_ms: 50 })
    await insertUsage(store, [event('1', 5)])
    await until(() => isRollupCurrent(store))
    expect(await totals(store)).toEqual(['2026-10-05 1 0.0035'])
    const built = async () =>
      (await store.query<{ ms: string }>(`SELECT toUnixTimestamp64Milli(any(built_at)) - (SELECT toUnixTimestamp64Milli(max(at)) FROM dirty_days) AS ms FROM usage_daily`))[0]?.ms
    await until(async () => Number(await built()) >= 400)
    const rested = await built()
    await pause(300)
    expect(await built()).toBe(rested)
    await loop.stop()
    expect(await store.query(`SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%stage%'`)).toEqual([])
  })

  it('does not rebuild a day that is being written more often than its interval', async () => {
    await insertUsage(store, [event('1', 5)])
    const loop = start({ poll_ms: 10, settle_ms: 100_000, min_interval_ms: 600_000 })
    await until(() => isRollupCurrent(store))
    await insertUsage(store, [event('2', 5), event('3', 6)])
    await until(async () => (await totals(store)).length === 2)
    await pause(200)
    expect(await totals(store)).toEqual(['2026-10-05 1 0.0035', '2026-10-06 1 0.0035'])
    await loop.stop()
  })

  it('goes on when the clock of the store is set back by an hour', async () => {
    await insertUsage(store, [event('1', 5)])
    let behind_ms = 0
    const query: Store['query'] = async <R>(sql: string, options?: Parameters<Store['query']>[1]) => {
      const rows = await store.query<R>(sql, options)
      return rows.map((row) => {
        const { now } = row as { now?: string }
        return now === undefined ? row : { ...row, now: String(Number(now) - behind_ms) }
      })
    }
    const stop = new AbortController()
    const running = runRollup({ store: { ...store, query }, clock: systemClock, log: silentLogger, options: { poll_ms: 10, settle_ms: 100, min_interval_ms: 20 } }, stop.signal)
    await until(() => isRollupCurrent(store))
    behind_ms = 3_600_000
    await insertUsage(store, [event('2', 5)])
    await until(() => isRollupCurrent(store))
    expect(await totals(store)).toEqual(['2026-10-05 2 0.007'])
    stop.abort()
    await running
  })

  it('may run twice at once beside a writer: the sums end up right', async () => {
    const options = { poll_ms: 5, settle_ms: 200, min_interval_ms: 1, share: 1 }
    const loops = [start(options), start(options)]
    for (let batch = 0; batch < 25; batch++)
      await insertUsage(store, [event(`${batch}a`, 5 + (batch % 3)), event(`${batch}b`, 5), event(`${Math.floor(batch / 2)}a`, 5 + (Math.floor(batch / 2) % 3))])
    await until(() => isRollupCurrent(store))
    await pause(500)
    await Promise.all(loops.map((loop) => loop.stop()))
    await rebuildDirtyDays(store)
    const expected = ['2026-10-05 34 0.119', '2026-10-06 8 0.028', '2026-10-07 8 0.028']
    expect(await totals(store)).toEqual(expected)
    expect(await quarters(store)).toEqual(expected)
    expect(await isRollupCurrent(store)).toBe(true)
  })
})

describe('a kill', () => {
  it.each(['rollup.after-stage', 'rollup.after-replace'])('at %s leaves days that the next rollup repairs', async (point) => {
    const directory = mkdtempSync(join(tmpdir(), 'tokenwatch-rollup-crash-'))
    try {
      const child = spawnSync(process.execPath, [join(import.meta.dirname, '../test/support/rollup-child.ts'), directory], {
        env: { ...process.env, TOKENWATCH_CRASH_AT: `${point}:2` },
        encoding: 'utf8',
      })
      expect(child.signal, child.stderr).toBe('SIGKILL')
      const { store, close } = await openLedgerStore(directory)
      try {
        expect(await isRollupCurrent(store)).toBe(false)
        expect(await rebuildDirtyDays(store)).toBe(2)
        const expected = ['2026-10-05 2 0.007', '2026-10-06 1 0.0035', '2026-10-07 1 0.0035']
        expect(await totals(store)).toEqual(expected)
        expect(await quarters(store)).toEqual(expected)
        expect(await isRollupCurrent(store)).toBe(true)
      } finally {
        await close()
      }
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })
})
