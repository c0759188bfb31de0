/** CPU share of a whole embedded process, and of one on Kafka, that has nothing to do. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { monotonicMs, systemClock } from '../runtime/clock.ts'
import { ensureKafka } from '../test/support/kafka/kafka.ts'
import { eventually, runTokenwatch } from '../test/support/process.ts'
import { cpuMicros, peakMemoryMb } from './process-figures.ts'

const SETTLE_MS = 40_000 // the rollup looks less often after half a minute of quiet
const WATCH_MS = 15_000

export async function idleCpu() {
  const { brokers } = await ensureKafka()
  return {
    embedded: await share({ kind: 'embedded' }),
    kafka: await share({ kind: 'kafka', brokers, topics: { prefix: `idle${process.pid}.`, replication: 1, min_insync_replicas: 1 } }),
  }
}

async function share(bus: object) {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-idle-'))
  const file = path.join(directory, 'idle.yaml')
  writeFileSync(file, JSON.stringify({ data_dir: directory, bus, console: { listen: '127.0.0.1:0' } }))
  const running = runTokenwatch(['start', '--config', file])
  await eventually('the process runs', () => running.output().includes('"running"'))
  await systemClock.sleep(SETTLE_MS)
  const pid = running.child.pid ?? 0
  const before = { at: monotonicMs(), cpu: cpuMicros(pid) }
  await systemClock.sleep(WATCH_MS)
  const cpu_percent = Math.round(((cpuMicros(pid) - before.cpu) / 1000 / (monotonicMs() - before.at)) * 1000) / 10
  const memory_mb = peakMemoryMb(pid)
  await running.stop()
  rmSync(directory, { recursive: true, force: true })
  return { cpu_percent, memory_mb }
}
