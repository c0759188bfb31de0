/** Ctrl-C and SIGTERM drain; the second signal, or a drain that takes too long, ends the process at once. */
import type { Logger } from './log.ts'

const DRAIN_LIMIT_MS = 25_000 // Kubernetes kills after 30 s by default

/** A signal that aborts on SIGINT or SIGTERM. */
export function shutdownSignal(log: Logger): AbortSignal {
  const controller = new AbortController()
  const onSignal = (name: string) => {
    if (controller.signal.aborted) process.exit(130)
    log.info('stopping: draining what is in flight', { signal: name })
    setTimeout(() => process.exit(1), DRAIN_LIMIT_MS).unref()
    controller.abort()
  }
  process.on('SIGINT', () => onSignal('SIGINT'))
  process.on('SIGTERM', () => onSignal('SIGTERM'))
  return controller.signal
}
