/** Lane B: raw log lines → parsed, redacted, enriched, rated → bus, by `start --role collect`, per format and bus. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Bus } from '../bus/bus.ts'
import { busConfig } from '../bus/config.ts'
import { createBus } from '../bus/index.ts'
import { monotonicMs, systemClock } from '../runtime/clock.ts'
import { createLogger, silentLogger } from '../runtime/log.ts'
import { ensureKafka } from '../test/support/kafka/kafka.ts'
import { runTokenwatch } from '../test/support/process.ts'
import { cpuMicros, peakMemoryMb, type Sample, steadyState } from './process-figures.ts'
import { type Lane, lanes } from './raw-lines.ts'

const LIMIT_MS = 60_000
const log = createLogger({ level: 'info' })

/** `kinds`: embedded, kafka. */
export async function laneB(lines: number, kinds: readonly string[]) {
  const report: Record<string, unknown> = {}
  for (const kind of kinds) {
    for (const [name, lane] of Object.entries(lanes)) {
      const figures = await measure(lane, lines, await busOf(kind, name))
      report[`${name} on ${kind}`] = figures
      log.info(`lane B: ${name} on ${kind}`, figures)
    }
  }
  return report
}

async function busOf(kind: string, lane: string): Promise<object> {
  if (kind !== 'kafka') return { kind: 'embedded' }
  const { brokers } = await ensureKafka()
  return { kind: 'kafka', brokers, topics: { prefix: `lane-b-${lane}-${process.pid}.`, replication: 1, min_insync_replicas: 1 } }
}

async function measure(lane: Lane, lines: number, busSection: object) {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-lane-b-'))
  const from = systemClock.now() - 3_600_000
  const text = Array.from({ length: lines }, (_, n) => lane.line(n, from + n * 10)).join('\n')
  const input = path.join(directory, `lines.${lane.extension}`)
  writeFileSync(input, `${lane.head ?? ''}${text}\n`)
  const bus = createBus(busConfig.parse(busSection), { data_dir: directory, clock: systemClock, log: silentLogger })
  await bus.prepare(new AbortController().signal)
  const running = runTokenwatch(['start', '--role', 'collect', '--config', collectConfig(directory, input, lane, busSection)])
  const pid = running.child.pid ?? 0
  const samples: Sample[] = []
  const deadline = monotonicMs() + LIMIT_MS
  let peak_memory_mb = 0
  for (let events = 0; events < lines && monotonicMs() < deadline; await systemClock.sleep(50)) {
    if (running.child.exitCode !== null) throw new Error(`the collector ended:\n${running.output()}`)
    events = await publishedOn(bus, lane)
    samples.push({ at_ms: monotonicMs(), events, cpu_us: cpuMicros(pid) })
    peak_memory_mb = peakMemoryMb(pid)
  }
  await running.stop()
  await bus.close()
  rmSync(directory, { recursive: true, force: true })
  return { bytes_per_line: Math.round(Buffer.byteLength(text) / lines), ...steadyState(samples, lines), peak_memory_mb }
}

/** The config of a collector that follows one file; gives its path. */
export function collectConfig(directory: string, input: string, lane: Lane, bus: object): string {
  const file = path.join(directory, 'bench.yaml')
  writeFileSync(file, JSON.stringify({ data_dir: directory, bus, sources: [{ id: 'bench', kind: 'file', paths: [input], follow: true }], formats: lane.formats }))
  return file
}

export const publishedOn = async (bus: Bus, lane: Lane): Promise<number> => (await bus.end_offsets([lane.topic])).reduce((sum, { offset }) => sum + Number(offset), 0)
