/**
 * Memory of the collector over millions of lines: it follows a file that is written while it reads, rotated and deleted, on the
 * embedded bus. Flat is what its live heap (after a collection that the bench asks for) and its resident memory have to be.
 */
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Bus } from '../bus/bus.ts'
import { busConfig } from '../bus/config.ts'
import { createBus } from '../bus/index.ts'
import { monotonicMs, systemClock } from '../runtime/clock.ts'
import { createLogger, silentLogger } from '../runtime/log.ts'
import { type Running, runTokenwatch } from '../test/support/process.ts'
import { collectConfig, publishedOn } from './lane-b.ts'
import { cpuMicros, memoryMb, peakMemoryMb } from './process-figures.ts'
import { lanes } from './raw-lines.ts'

/** The next file is begun when all of this one is on the bus, so the disk holds two at most. */
const LINES_A_FILE = 250_000
const LINES_A_WRITE = 2_000
const SAMPLE_EVERY = 500_000
const STALLED_MS = 60_000
const log = createLogger({ level: 'info' })
const lane = lanes['openai-http-500']

export interface MemorySample {
  events: number
  /** What JavaScript holds after a full collection. */
  live_heap_mb: number
  resident_mb: number
  cpu_us_per_event: number
}

/** `lines` is rounded up to whole files of 250,000. Needs 250 MB of disk and 0.15 kB per line until it ends. */
export async function collectorMemory(lines: number) {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-memory-'))
  const input = path.join(directory, 'lines.jsonl')
  writeFileSync(input, '')
  const bus = createBus(busConfig.parse({ kind: 'embedded' }), { data_dir: directory, clock: systemClock, log: silentLogger })
  const config = collectConfig(directory, input, lane, { kind: 'embedded' })
  const running = runTokenwatch(['start', '--role', 'collect', '--config', config], { env: { NODE_OPTIONS: `--import ${new URL('./heap-on-signal.ts', import.meta.url).href}` } })
  const pid = running.child.pid ?? 0
  const samples: MemorySample[] = []
  try {
    let before = { events: 0, cpu: cpuMicros(pid) }
    for (let written = 0; written < lines;) {
      if (written > 0) {
        renameSync(input, `${input}.1`)
        writeFileSync(input, '')
      }
      writeLines(input, written)
      written += LINES_A_FILE
      await waitFor(bus, running, written)
      if (written % SAMPLE_EVERY !== 0 && written < lines) continue
      const cpu = cpuMicros(pid)
      const cpu_us_per_event = Math.round(((cpu - before.cpu) / (written - before.events)) * 10) / 10
      samples.push({ events: written, live_heap_mb: await liveHeapMb(running), resident_mb: memoryMb(pid), cpu_us_per_event })
      log.info('collector memory', { ...samples.at(-1) })
      before = { events: written, cpu: cpuMicros(pid) }
    }
    const published = await publishedOn(bus, lane)
    return { published, samples, peak_memory_mb: peakMemoryMb(pid) }
  } finally {
    await running.stop()
    await bus.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

function writeLines(input: string, first: number): void {
  const from = systemClock.now() - 3_600_000
  for (let n = first; n < first + LINES_A_FILE; n += LINES_A_WRITE) {
    appendFileSync(input, `${Array.from({ length: LINES_A_WRITE }, (_, index) => lane.line(n + index, from + ((n + index) % LINES_A_FILE) * 10)).join('\n')}\n`)
  }
}

async function waitFor(bus: Bus, running: Running, events: number): Promise<void> {
  let last = -1
  for (let moved_at = monotonicMs(); ; await systemClock.sleep(200)) {
    if (running.child.exitCode !== null) throw new Error(`the collector ended:\n${running.output()}`)
    const now = await publishedOn(bus, lane)
    if (now >= events) return
    if (now > last) moved_at = monotonicMs()
    last = now
    if (monotonicMs() - moved_at > STALLED_MS) throw new Error(`no event for a minute, at ${now} of ${events}`)
  }
}

/** Asks the process, see heap-on-signal.ts. */
async function liveHeapMb(running: Running): Promise<number> {
  const said = running.output().length
  running.child.kill('SIGUSR2')
  for (let tries = 0; tries < 100; tries++) {
    await systemClock.sleep(100)
    const found = /live heap (\d+) MB/.exec(running.output().slice(said))
    if (found !== null) return Number(found[1])
  }
  throw new Error('the collector did not say how large its heap is')
}
