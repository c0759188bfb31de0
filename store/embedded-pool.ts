/** Sessions of the embedded engine, one query at a time each, cleaned after every error before the next query may use them. */
import { quoteString } from './sql.ts'

/** What is used of an engine's session; embedded.ts has the real one. */
export interface EngineSession {
  queryAsync(sql: string, options?: { format?: string }): Promise<{ bytes(): Uint8Array }>
  insert(params: { table: string; columns: readonly string[]; values: Buffer; format: 'JSONCompactEachRow'; settings: Record<string, string | number> }): Promise<unknown>
  close(): void
}

let marks = 0

export class SessionPool {
  readonly #size: number
  readonly #open: () => Promise<EngineSession>
  readonly #control: EngineSession
  readonly #idle: EngineSession[] = []
  readonly #waiting: ((session: EngineSession) => void)[] = []
  readonly #busy = new Set<Promise<void>>()
  #opened = 0
  #closed = false

  /** `control` is another session of the same directory: queries that nobody waits for any more are killed from there. */
  constructor(size: number, open: () => Promise<EngineSession>, control: EngineSession) {
    this.#size = size
    this.#open = open
    this.#control = control
  }

  /**
   * Runs `work` on a session of its own. `mark` is a comment that makes the query findable; put it in front of the SQL text.
   * An abort rejects at once, kills the query and keeps the session until the engine has really stopped: it cannot be interrupted.
   */
  async run<T>(work: (session: EngineSession, mark: string) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted()
    const session = await this.#take()
    marks += 1
    const mark = `/* tokenwatch ${process.pid}.${marks} */ `
    const native = work(session, mark)
    const ended: Promise<void> = native.then(
      () => this.#release(session),
      () => this.#clean(session),
    )
    this.#busy.add(ended)
    void ended.finally(() => this.#busy.delete(ended))
    if (signal === undefined) {
      try {
        return await native
      } catch (error) {
        await ended
        throw error
      }
    }
    return await this.#race(native, mark, signal)
  }

  async close(): Promise<void> {
    this.#closed = true
    while (this.#busy.size > 0) await Promise.all(this.#busy)
    for (const session of this.#idle.splice(0)) session.close()
  }

  #race<T>(native: Promise<T>, mark: string, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        reject(signal.reason instanceof Error ? signal.reason : new DOMException('aborted', 'AbortError'))
        // ASYNC: do not wait for the end. The text of the KILL itself does not start with the mark.
        this.#control.queryAsync(`KILL QUERY WHERE startsWith(query, ${quoteString(mark.trim())}) ASYNC`).catch(() => undefined)
      }
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
      native.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
    })
  }

  async #take(): Promise<EngineSession> {
    if (this.#closed) throw new Error('the store is closed')
    const idle = this.#idle.pop()
    if (idle !== undefined) return idle
    if (this.#opened < this.#size) {
      this.#opened += 1
      try {
        return await this.#open()
      } catch (error) {
        this.#opened -= 1
        throw error
      }
    }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  #release(session: EngineSession): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#idle.push(session)
    else next(session)
  }

  /** A failed query leaves the rows that it had formatted in the connection; they would be put in front of the next result. */
  async #clean(session: EngineSession): Promise<void> {
    try {
      await session.queryAsync('SELECT 1')
      this.#release(session)
    } catch {
      session.close()
      this.#release(await this.#open())
    }
  }
}
