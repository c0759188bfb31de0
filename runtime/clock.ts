/** The one clock. Everything that asks for the time or waits takes a Clock, so that tests and simulations own time. */

export interface Clock {
  /** UTC now in whole milliseconds. */
  now(): number
  /** Resolves after `ms`, or at once when the signal aborts (it never rejects: callers look at the signal). */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve()
      const done = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, Math.max(0, Math.min(ms, 2 ** 31 - 1)))
      signal?.addEventListener('abort', done, { once: true })
    }),
}

/** Lets other work run: loops call it every few hundred records so that heartbeats and HTTP stay alive. */
export const yieldToEventLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** High-resolution monotonic milliseconds, for durations only. */
export const monotonicMs = (): number => performance.now()

/** "2026-11-22T16:00:00.123Z": how people and logs read an instant. */
export const isoTime = (epoch_ms: number): string => new Date(epoch_ms).toISOString()
