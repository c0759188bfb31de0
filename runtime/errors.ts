/** Exceptions describe the world; values describe the record. The loops read these classes to decide what to do next. */

/** The world is away or busy: the loop retries with jitter. `retry_after_ms` is a wish of the other side. */
export class TransientError extends Error {
  readonly retry_after_ms: number | undefined
  constructor(message: string, options: { cause?: unknown; retry_after_ms?: number } = {}) {
    super(message, { cause: options.cause })
    this.name = 'TransientError'
    this.retry_after_ms = options.retry_after_ms
  }
}

/** Trying again cannot help: the loop parks the item on rejects.v1. The message says what a person should do. */
export class PermanentError extends Error {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super(message, { cause: options.cause })
    this.name = 'PermanentError'
  }
}

/** Some items of a batch failed: the loop retries only those. Keys are event ids. */
export class PartialError extends Error {
  readonly failures: ReadonlyMap<string, Error>
  constructor(message: string, failures: ReadonlyMap<string, Error>) {
    super(message)
    this.name = 'PartialError'
    this.failures = failures
  }
}

/** Wrong use or wrong configuration: printed without a stack, exit code 2. */
export class UsageError extends Error {
  readonly problems: readonly string[]
  constructor(problems: string | readonly string[]) {
    const list = typeof problems === 'string' ? [problems] : problems
    super(list.join('\n'))
    this.name = 'UsageError'
    this.problems = list
  }
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

export const isAbort = (error: unknown): boolean => error instanceof Error && (error.name === 'AbortError' || (error as { code?: unknown }).code === 'ABORT_ERR')
