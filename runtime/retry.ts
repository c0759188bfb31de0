/** Retry with full jitter. Only loops call this; plugins never retry themselves. */
import type { Clock } from './clock.ts'
import { messageOf, PermanentError, TransientError, UsageError } from './errors.ts'
import type { Logger } from './log.ts'
import { type Random, systemRandom } from './random.ts'

interface RetryOptions {
  clock: Clock
  signal: AbortSignal
  /** Names the thing that is awaited, for the one log line: "the bus", "ClickHouse". */
  what: string
  log?: Logger
  random?: Random
  base_ms?: number
  cap_ms?: number
  /** Default: without end, until the signal aborts. */
  max_tries?: number
  /** Default: everything but PermanentError, UsageError and aborts. */
  retryable?: (error: unknown) => boolean
}

/** Milliseconds to wait before try `attempt` (1 = first retry): uniform in [0, base * 2^attempt], capped. */
export const fullJitter = (attempt: number, random: Random, base_ms = 200, cap_ms = 30_000): number => random() * Math.min(cap_ms, base_ms * 2 ** attempt)

/**
 * Runs `work` until it succeeds. Says once that it waits and once that it goes on, whatever the number of tries.
 * Throws the last error when tries are used up, when the error is not retryable, or when the signal aborts.
 */
export async function retry<T>(work: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, signal, what, log, random = systemRandom } = options
  const retryable = options.retryable ?? ((error) => !(error instanceof PermanentError || error instanceof UsageError))
  for (let attempt = 1; ; attempt++) {
    try {
      const result = await work()
      if (attempt > 1) log?.info(`${what} answers again`, { tries: attempt })
      return result
    } catch (error) {
      if (signal.aborted || !retryable(error) || attempt >= (options.max_tries ?? Infinity)) throw error
      if (attempt === 1) log?.warn(`waiting for ${what}`, { error: messageOf(error) })
      const wished = error instanceof TransientError ? error.retry_after_ms : undefined
      await clock.sleep(wished ?? fullJitter(attempt, random, options.base_ms, options.cap_ms), signal)
      if (signal.aborted) throw error
    }
  }
}
