/** The jobs of one sink, one at a time in the order they are due. A queue of its own for each, so that a slow sink delays nobody else. */
import type { Clock } from '../runtime/clock.ts'

export interface SinkQueue<J> {
  /** `due` in epoch milliseconds. */
  add(job: J, due: number): void
  /** Forgets the jobs that wait and fit; the one that runs is not among them. */
  drop(fits: (job: J) => boolean): void
  /** Nothing runs and nothing is due now. */
  idle(): boolean
  /** Works until the signal aborts; the job that runs then is finished. Rejects when `work` does. */
  run(work: (job: J) => Promise<void>, signal: AbortSignal): Promise<void>
}

export function createSinkQueue<J>(clock: Clock): SinkQueue<J> {
  let jobs: { job: J; due: number }[] = []
  let running = false
  let wake = new AbortController()
  return {
    add: (job, due) => {
      jobs = [...jobs, { job, due }].sort((left, right) => left.due - right.due)
      wake.abort()
    },
    drop: (fits) => {
      jobs = jobs.filter(({ job }) => !fits(job))
    },
    idle: () => !running && (jobs[0] === undefined || jobs[0].due > clock.now()),
    run: async (work, signal) => {
      while (!signal.aborted) {
        const next = jobs[0]
        const wait = next === undefined ? Infinity : next.due - clock.now()
        if (next === undefined || wait > 0) {
          wake = new AbortController()
          await clock.sleep(wait, AbortSignal.any([signal, wake.signal]))
          continue
        }
        jobs = jobs.slice(1)
        running = true
        try {
          await work(next.job)
        } finally {
          running = false
        }
      }
    },
  }
}
