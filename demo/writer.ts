/**
 * Writes the made-up company's log files, which the `file` source follows like any other. No shortcut into the bus.
 * `demo-state.json` beside them says how far the lines go, so that a second start goes on where the first one was.
 */
import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, yieldToEventLoop } from '../runtime/clock.ts'
import { UsageError } from '../runtime/errors.ts'
import { createCompany } from './company.ts'
import { demoFiles } from './config.ts'
import { incidentsFrom } from './incidents.ts'
import type { TimedLine } from './sampling.ts'
import { trafficBetween } from './traffic.ts'

const DAY_MS = 86_400_000
const STEP_MS = DAY_MS / 4
const STATE_FILE = 'demo-state.json'

interface DemoState {
  seed: number
  /** Every ordinary line before this instant (epoch ms) is in the files. */
  written_to: number
  /** Live runs so far. */
  starts: number
}

export interface HistoryProgress {
  /** Share of the history that is written, 0 … 1. */
  done: number
  lines: number
}

export interface HistoryOptions {
  seed: number
  /** How far back a first run reaches. */
  days?: number
  /** Epoch ms, exclusive. */
  until: number
  /** Where the .jsonl files go; made if it is missing. */
  directory: string
  onProgress?: (progress: HistoryProgress) => void
}

/**
 * Appends the weeks before `until`; after an earlier run only what is missing since then. A kill in between writes up to six
 * hours again at the next run, with the same ids. Throws UsageError when the directory belongs to another seed.
 */
export async function writeHistory({ seed, days = 21, until, directory, onProgress }: HistoryOptions): Promise<{ lines: number; from: number }> {
  prepare(directory)
  const state = readState(directory, seed)
  const from = Math.max(state?.written_to ?? 0, until - days * DAY_MS)
  const company = createCompany(seed)
  let lines = 0
  for (let at = from; at < until; at += STEP_MS) {
    const end = Math.min(at + STEP_MS, until)
    for (const [file, texts] of byFile(trafficBetween(company, at, end))) {
      appendFileSync(join(directory, file), `${texts.join('\n')}\n`)
      lines += texts.length
    }
    writeState(directory, { seed, written_to: end, starts: state?.starts ?? 0 })
    onProgress?.({ done: (end - from) / (until - from), lines })
    await yieldToEventLoop()
  }
  return { lines, from }
}

/** Throws UsageError when the lines there are those of another company. */
export function refuseOtherSeed(directory: string, seed: number): void {
  readState(directory, seed)
}

export interface LiveOptions {
  seed: number
  /** Divides the gaps between incidents. */
  speed: number
  incidents: boolean
  clock: Clock
  directory: string
}

/** Goes on from the history, each line at its time, until the signal aborts. Returns the number of lines. */
export async function liveTraffic({ seed, speed, incidents, clock, directory }: LiveOptions, signal: AbortSignal): Promise<number> {
  prepare(directory)
  const company = createCompany(seed)
  const started_at = clock.now()
  const { written_to, starts } = readState(directory, seed) ?? { written_to: started_at, starts: 0 }
  const ordinary = trafficBetween(company, written_to, Infinity)
  const troubles = incidents ? incidentsFrom(company, started_at, speed, starts) : undefined
  let next = ordinary.next().value as TimedLine
  let trouble = troubles?.next().value
  let pending: TimedLine[] = []
  let lines = 0
  while (!signal.aborted) {
    const now = clock.now()
    for (; trouble && trouble.from <= now; trouble = troubles?.next().value) pending.push(...trouble.lines)
    const due = pending.filter((line) => line.at <= now)
    pending = pending.filter((line) => line.at > now)
    for (; next.at <= now; next = ordinary.next().value as TimedLine) due.push(next)
    if (due.length > 0) {
      due.sort((a, b) => a.at - b.at)
      for (const [file, texts] of byFile(due)) await appendFile(join(directory, file), `${texts.join('\n')}\n`)
      // Not before the lines: a kill in between writes some again, which is the same event twice, never a hole.
      writeState(directory, { seed, written_to: now + 1, starts: starts + 1 })
      lines += due.length
    }
    await clock.sleep(100, signal)
  }
  return lines
}

/** A file that is followed must be there, even before its first line. */
function prepare(directory: string): void {
  mkdirSync(directory, { recursive: true })
  for (const file of demoFiles) appendFileSync(join(directory, file), '')
}

function byFile(lines: Iterable<TimedLine>): Map<string, string[]> {
  const files = new Map<string, string[]>()
  for (const { file, line } of lines) {
    const texts = files.get(file)
    if (texts) texts.push(line())
    else files.set(file, [line()])
  }
  return files
}

function readState(directory: string, seed: number): DemoState | undefined {
  let text: string
  try {
    text = readFileSync(join(directory, STATE_FILE), 'utf8')
  } catch {
    return undefined
  }
  const state = JSON.parse(text) as DemoState
  if (state.seed !== seed) {
    throw new UsageError(`${directory} holds the company of seed ${state.seed}: start with --seed ${state.seed}, or give another --data-dir for seed ${seed}`)
  }
  return state
}

function writeState(directory: string, state: DemoState): void {
  const path = join(directory, STATE_FILE)
  writeFileSync(`${path}.new`, JSON.stringify(state))
  renameSync(`${path}.new`, path)
}
