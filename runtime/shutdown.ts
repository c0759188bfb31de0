/** Ctrl-C and SIGTERM drain; the second signal, or a drain that takes too long, ends the process at once. */
import type { Logger } from './log.ts'

const DRAIN_LIMIT_MS = 25_000 // Kubernetes kills after 30 s by default

/** npm passes Ctrl-C on to a child that the terminal has already told: what comes this soon is the same key press. */
const SAME_PRESS_MS = 1_000

/** A signal that aborts on SIGINT or SIGTERM. */
export function shutdownSignal(log: Logger): AbortSignal {
  const controller = new AbortController()
  let first_at = 0
  const onSignal = (name: string) => {
    if (controller.signal.aborted) {
      if (performance.now() - first_at > SAME_PRESS_MS) process.exit(130)
      return
    }
    first_at = performance.now()
    log.info('stopping: draining what is in flight', { signal: name })
    setTimeout(() => {
      log.error('the drain took too long, stopping hard; the next start goes on from the last durable step', { limit_ms: DRAIN_LIMIT_MS })
      process.exit(1)
    }, DRAIN_LIMIT_MS).unref()
    controller.abort()
  }
  process.on('SIGINT', () => onSignal('SIGINT'))
  process.on('SIGTERM', () => onSignal('SIGTERM'))
  return controller.signal
}
