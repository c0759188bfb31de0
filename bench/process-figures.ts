/** CPU time and memory of a process, as the kernel counts them (Linux /proc). */
import { readFileSync } from 'node:fs'

const TICKS_PER_SECOND = 100 // USER_HZ on every Linux that Node runs on

/** User and system CPU time, all threads, in microseconds. */
export function cpuMicros(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1_000_000) / TICKS_PER_SECOND
}

/** Highest resident memory so far, in MB. */
export const peakMemoryMb = (pid: number): number => statusMb(pid, 'VmHWM')

/** Resident memory now, in MB. */
export const memoryMb = (pid: number): number => statusMb(pid, 'VmRSS')

function statusMb(pid: number, name: 'VmHWM' | 'VmRSS'): number {
  const line = new RegExp(`${name}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Math.round(Number(line?.[1] ?? 0) / 1024)
}

export interface Sample {
  at_ms: number
  events: number
  cpu_us: number
}

/** Events per second and CPU per event between 10 % and the end, so that start-up is in neither side's figure. */
export function steadyState(samples: readonly Sample[], total: number): { events_per_second: number; cpu_us_per_event: number } {
  const first = samples.find((sample) => sample.events >= total * 0.1) ?? samples.find((sample) => sample.events > 0)
  const last = samples.find((sample) => sample.events >= total) ?? samples.at(-1)
  if (!first || !last || last.events <= first.events) return { events_per_second: 0, cpu_us_per_event: 0 }
  const events = last.events - first.events
  return { events_per_second: Math.round((events / (last.at_ms - first.at_ms)) * 1000), cpu_us_per_event: Math.round(((last.cpu_us - first.cpu_us) / events) * 10) / 10 }
}
