/** The shipped detectors on the real embedded bus and the real store: stopped in mid-incident, started again, the same findings. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type EmbeddedBus, openEmbeddedBus } from '../../bus/embedded.ts'
import { detectorsConfig } from '../../detect/config.ts'
import { configuredDetectors, runnerOptions } from '../../detect/index.ts'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import type { Finding } from '../../schemas/findings.ts'
import type { UsageEvent } from '../../schemas/usage.ts'
import { openEmbeddedStore } from '../../store/embedded.ts'
import { migrate } from '../../store/migrate.ts'
import type { StateStore, Store } from '../../store/store.ts'
import { RUNS_SCOPE, runDetectors } from '../../stream/runner.ts'
import { arrivals, idsOf, inTime } from '../contract/detector.ts'
import { replay } from '../eval/harness.ts'
import { burn, checker } from '../eval/incidents.ts'
import { DAY, HOUR, quietMonth, START } from '../eval/scenario.ts'

const config = detectorsConfig.parse({ lateness: '60s' })
const folder = mkdtempSync(join(tmpdir(), 'detect-restart-'))
const deps = { clock: systemClock, log: silentLogger, signal: new AbortController().signal }
let bus: EmbeddedBus
let store: Store

beforeAll(async () => {
  bus = openEmbeddedBus({ directory: join(folder, 'bus') }, deps)
  store = await openEmbeddedStore({ directory: join(folder, 'store') }, deps)
  await migrate(store, {}, deps)
})
afterAll(async () => {
  await bus.close()
  await store.close()
  rmSync(folder, { recursive: true, force: true })
})

it('finds the same after a stop in mid-incident', { timeout: 300_000 }, async () => {
  const at = START + 6 * DAY + 10 * HOUR
  const incidents = [...burn({ at, key: 'fp_0001', index: 1, minutes: 8 }).events, ...checker({ at: at + HOUR, key: 'fp_0002', index: 2, seed: 1 }).events]
  const events = inTime([...quietMonth({ seed: 21, keys: 4, days: 7 }), ...incidents]).map((event): UsageEvent => ({ ...event, run_id: 'r' }))
  const reference = await replay(configuredDetectors(config), arrivals(events), { lag: 120_000 })
  const middle = events.findIndex(({ event_time }) => event_time > at + 4 * 60_000 + 1000)

  const first = start(store.state)
  await publish(events.slice(0, middle), false)
  await until(async () => (await findings()).length > 0)
  await first()
  const before = (await findings()).length
  const second = start(store.state)
  await publish(events.slice(middle), true)
  await until(async () => (await store.state.get(RUNS_SCOPE, 'r')) !== undefined)
  await second()

  const all = await findings()
  expect(before).toBeGreaterThan(0)
  expect([...new Set(all.map(({ finding_id }) => finding_id))].sort()).toEqual(idsOf(reference.told))
  const last = (list: readonly { revision: number; spend_usd: string | null }[]) => list.reduce((a, b) => (b.revision > a.revision ? b : a)).spend_usd
  for (const { entity, window_start, detector } of all) {
    const same = (one: { entity: string; window_start: number; detector: string }) => one.entity === entity && one.window_start === window_start && one.detector === detector
    expect(last(all.filter(same))).toBe(last(reference.told.filter(same)))
  }
})

function start(state: StateStore): () => Promise<void> {
  const controller = new AbortController()
  const running = runDetectors({ ...deps, bus, state, detectors: configuredDetectors(config), options: runnerOptions(config) }, controller.signal)
  return async () => {
    controller.abort()
    await running
  }
}

/** Pages with progress after each, as a collector does. */
async function publish(events: readonly UsageEvent[], done: boolean): Promise<void> {
  for (let from = 0; from < events.length; from += 1000) {
    const page = events.slice(from, from + 1000)
    await bus.publish('usage.v1', page)
    const last = page.at(-1)?.event_time ?? 0
    await bus.publish('progress.v1', [
      {
        stream: 'scenario',
        source: 'scenario',
        source_stream: 'scenario',
        run_id: 'r',
        at: last,
        scanned_to: last,
        last_event_time: last,
        completeness: null,
        blind: false,
        reason: null,
        done: done && from + 1000 >= events.length,
        records: 0,
        accepted: 0,
        skipped: 0,
        rejected: 0,
        late: 0,
      },
    ])
  }
}

async function findings(): Promise<Finding[]> {
  const all: Finding[] = []
  await bus.replay('findings.v1', ({ records }) => void all.push(...records), new AbortController().signal)
  return all
}

async function until(reached: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 2_400; tries++) {
    if (await reached()) return
    await systemClock.sleep(50)
  }
  throw new Error('waited in vain')
}
