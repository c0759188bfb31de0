/**
 * Lane A: a topic full of usage events → consumed, validated, stored, rolled up and run through every detector by
 * `start --role store,detect` with its shipped settings, beside ClickHouse's Kafka engine copying the same topic.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createBus } from '../bus/index.ts'
import { busConfig } from '../bus/config.ts'
import { monotonicMs, systemClock } from '../runtime/clock.ts'
import { createLogger, silentLogger } from '../runtime/log.ts'
import type { UsageEvent } from '../schemas/usage.ts'
import { ensureKafka } from '../test/support/kafka/kafka.ts'
import { runTokenwatch } from '../test/support/process.ts'
import { cpuMicros, peakMemoryMb, type Sample, steadyState } from './process-figures.ts'
import { usageEventAt } from './usage-events.ts'

const BATCH = 2_000
// On a busy machine a side may not get through; its rate is then taken over what it did.
const LIMIT_MS = 60_000
const log = createLogger({ level: 'info' })

export async function laneA(events: number) {
  const { brokers } = await ensureKafka()
  const prefix = `bench${process.pid}.`
  const config = { kind: 'kafka', brokers, topics: { prefix, replication: 1, min_insync_replicas: 1 } } as const
  const bus = createBus(busConfig.parse(config), { data_dir: tmpdir(), clock: systemClock, log: silentLogger })
  await bus.prepare(new AbortController().signal)
  const produced_in = await fill(bus, events)
  log.info('lane A: topic filled', { events, events_per_second: Math.round((events / produced_in) * 1000) })

  const engine_first = await engine(brokers, `${prefix}usage.v1`, events)
  const ours = await tokenwatch(bus, config, events)
  const engine_after = await engine(brokers, `${prefix}usage.v1`, events)
  await bus.close()
  // Before and after, because a shared machine drifts; the ratio takes their mean.
  const yardstick = (engine_first.events_per_second + engine_after.events_per_second) / 2
  return {
    events,
    published_events_per_second: Math.round((events / produced_in) * 1000),
    clickhouse_kafka_engine: [engine_first, engine_after],
    tokenwatch: ours,
    ratio: Math.round((ours.events_per_second / yardstick) * 100) / 100,
  }
}

async function fill(bus: ReturnType<typeof createBus>, events: number): Promise<number> {
  const started = monotonicMs()
  const from = systemClock.now() - 2 * 3_600_000
  for (let index = 0; index < events; index += BATCH) {
    const batch: UsageEvent[] = []
    for (let n = index; n < Math.min(events, index + BATCH); n++) batch.push(usageEventAt(n, from, 7_000_000 / events))
    await bus.publish('usage.v1', batch)
  }
  return monotonicMs() - started
}

async function engine(brokers: readonly string[], topic: string, events: number) {
  const child = spawn(process.execPath, [new URL('./engine.ts', import.meta.url).pathname, brokers.join(','), topic, String(events)], { stdio: ['ignore', 'pipe', 'inherit'] })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  await new Promise((resolve) => child.on('close', resolve))
  const { samples, peak_memory_mb } = JSON.parse(out) as { samples: Sample[]; peak_memory_mb: number }
  const figures = { ...steadyState(samples, events), peak_memory_mb }
  log.info('lane A: ClickHouse Kafka engine', figures)
  return figures
}

async function tokenwatch(bus: ReturnType<typeof createBus>, config: object, events: number) {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-bench-'))
  const file = path.join(directory, 'bench.yaml')
  writeFileSync(file, JSON.stringify({ data_dir: directory, bus: config, metrics: { listen: '127.0.0.1:0' } }))
  const running = runTokenwatch(['start', '--role', 'store,detect', '--config', file])
  const pid = running.child.pid ?? 0
  const samples: Sample[] = []
  const deadline = monotonicMs() + LIMIT_MS
  let peak_memory_mb = 0
  for (let done = 0; done < events && monotonicMs() < deadline; await systemClock.sleep(100)) {
    if (running.child.exitCode !== null) throw new Error(`the process ended:\n${running.output()}`)
    // Both groups must have passed: an event counts when it is stored and folded.
    const groups = await Promise.all(
      ['store', 'detect'].map(async (group) => (await bus.lag(group)).filter(({ topic }) => topic === 'usage.v1').reduce((sum, { committed }) => sum + Number(committed ?? 0n), 0)),
    )
    done = Math.min(...groups)
    samples.push({ at_ms: monotonicMs(), events: done, cpu_us: cpuMicros(pid) })
    peak_memory_mb = peakMemoryMb(pid)
  }
  const exit = await running.stop()
  rmSync(directory, { recursive: true, force: true })
  const figures = { ...steadyState(samples, events), peak_memory_mb, exit }
  log.info('lane A: tokenwatch', figures)
  return figures
}
