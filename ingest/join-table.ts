/**
 * Which parts of which requests are there, and what follows from it. Pure: time is given, nothing is read or written.
 *
 * A request waits until it is whole or has waited long enough; then its event is told once, revision 0. A part that comes later
 * gives the same event again, one revision higher. A part that comes twice is nothing. What was told is remembered for a while,
 * because logs are read again and a half must not be told after the whole.
 */
import { z } from 'zod'
import { type Fragment, fragment as fragmentSchema } from '../schemas/fragments.ts'
import type { Joiner, ParsedEvent } from './format.ts'

export interface JoinLimits {
  /** How long a part waits for the others, in ms of the time that is given to `add` and `due`. */
  wait: number
  /** How long a told request is remembered after its last part, ms. */
  remember: number
  /** Requests that wait, and requests that are remembered, at most; the oldest go first. */
  max_requests: number
}

export interface Joined {
  format: string
  correlation_id: string
  run_id: string | null
  /** With its revision and, for a revision, the time of its first emission. */
  event: ParsedEvent
  parts: readonly Fragment[]
  /** Told without the other side, because it did not come in time. */
  is_half: boolean
}

const request = z.object({
  format: z.string(),
  correlation_id: z.string(),
  run_id: z.string().nullable(),
  parts: z.array(fragmentSchema),
  since: z.number(),
  touched: z.number(),
  /** null: not told yet. */
  revision: z.number().nullable(),
  /** Rows of one request must lie at one instant, or the store could not put the newer in place of the older. */
  event_time: z.number().nullable(),
  whole: z.boolean(),
})
type Request = z.infer<typeof request>

export class JoinTable {
  readonly #joiners: ReadonlyMap<string, Joiner>
  readonly #limits: JoinLimits
  /** Both in the order of time: `since` and `touched`. */
  readonly #waiting = new Map<string, Request>()
  readonly #told = new Map<string, Request>()
  readonly #touched = new Set<string>()
  #settled = new Map<string, Uint8Array | undefined>()
  /** Requests that were no event after all (a gateway row of another API). */
  dropped = 0

  constructor(joiners: ReadonlyMap<string, Joiner>, limits: JoinLimits) {
    this.#joiners = joiners
    this.#limits = limits
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** What there is to tell now: nothing, the whole event, or a revision; and the oldest halves if too many wait. */
  add(fragment: Fragment, now: number): Joined[] {
    const joiner = this.#joiners.get(fragment.format)
    if (joiner === undefined) return []
    const key = keyOf(fragment)
    const found = this.#waiting.get(key) ?? this.#told.get(key)
    const { format, correlation_id, run_id } = fragment
    const at = found ?? { format, correlation_id, run_id, parts: [], since: now, touched: now, revision: null, event_time: null, whole: false }
    if (at.whole || at.parts.some(({ part }) => part === fragment.part)) return []
    const before = at.revision === null ? null : joiner.event(correlation_id, at.parts)
    at.parts = [...at.parts, fragment]
    at.touched = now
    at.whole = joiner.parts.every((name) => at.parts.some(({ part }) => part === name))
    this.#touched.add(key)
    if (at.revision === null && joiner.told(fragment)) this.#assume(at, joiner.event(correlation_id, [fragment]))
    const told = at.revision !== null
    const event = at.whole || told ? joiner.event(correlation_id, at.parts) : null
    const base = before ?? (told ? joiner.event(correlation_id, [fragment]) : null)
    const out = event !== null && (base === null || differs(event, base)) ? [this.#tell(at, event)] : []
    this.#place(key, at)
    return this.#waiting.size > this.#limits.max_requests ? [...out, ...this.#release(-Infinity)] : out
  }

  /** Halves that have waited long enough. Forgets what was told long ago. */
  due(now: number): Joined[] {
    for (const [key, { touched }] of this.#told) {
      if (touched + this.#limits.remember > now && this.#told.size <= this.#limits.max_requests) break
      this.#told.delete(key)
      this.#touched.add(key)
    }
    return this.#release(now - this.#limits.wait)
  }

  /** Everything that still waits, for the end of a run. */
  flush(): Joined[] {
    return this.#release(Infinity)
  }

  /** What happened since the last call is durable on the bus: it may be saved now. */
  settle(): void {
    for (const key of this.#touched) {
      const at = this.#waiting.get(key) ?? this.#told.get(key)
      this.#settled.set(key, at === undefined ? undefined : Buffer.from(JSON.stringify(at)))
    }
    this.#touched.clear()
  }

  /** Nothing of it will be saved. */
  discardChanges(): void {
    this.#touched.clear()
  }

  /** Settled changes by key; undefined: gone. Each is given once. */
  takeChanges(): Map<string, Uint8Array | undefined> {
    const taken = this.#settled
    this.#settled = new Map()
    return taken
  }

  /** Takes back what `takeChanges` gave. Returns how many entries could not be read. */
  restore(entries: Iterable<readonly [string, Uint8Array]>): number {
    let unreadable = 0
    const requests: [string, Request][] = []
    for (const [key, bytes] of entries) {
      const read = request.safeParse(parse(bytes))
      if (read.success) requests.push([key, read.data])
      else unreadable++
    }
    const order = (at: Request): number => (at.revision === null ? at.since : at.touched)
    for (const [key, at] of requests.sort(([, a], [, b]) => order(a) - order(b))) (at.revision === null ? this.#waiting : this.#told).set(key, at)
    return unreadable
  }

  /** The format has told this event itself, as revision 0. */
  #assume(at: Request, event: ParsedEvent | null): void {
    if (event === null) return
    at.revision = 0
    at.event_time = event.event.event_time
  }

  #tell(at: Request, event: ParsedEvent): Joined {
    at.revision = at.revision === null ? 0 : at.revision + 1
    at.event_time ??= event.event.event_time
    const { format, correlation_id, run_id, parts } = at
    const told = { ...event, event: { ...event.event, revision: at.revision, event_time: at.event_time } } as ParsedEvent
    return { format, correlation_id, run_id, event: told, parts, is_half: at.revision === 0 && !at.whole }
  }

  #place(key: string, at: Request): void {
    if (at.revision === null) {
      if (!this.#waiting.has(key)) this.#waiting.set(key, at)
      return
    }
    this.#waiting.delete(key)
    this.#told.delete(key)
    this.#told.set(key, at)
    // Nothing can be added to a whole: only that it was told is worth keeping.
    if (at.whole) at.parts = []
  }

  /** Tells the halves that began to wait at or before `until`, and as many more as are too many. */
  #release(until: number): Joined[] {
    const out: Joined[] = []
    for (const [key, at] of this.#waiting) {
      if (at.since > until && this.#waiting.size <= this.#limits.max_requests) break
      this.#touched.add(key)
      const event = this.#joiners.get(at.format)?.event(at.correlation_id, at.parts) ?? null
      this.#waiting.delete(key)
      if (event === null) {
        this.dropped++
        continue
      }
      out.push(this.#tell(at, event))
      at.touched = Math.max(at.touched, Number.isFinite(until) ? until + this.#limits.wait : at.touched)
      this.#place(key, at)
    }
    return out
  }
}

const keyOf = ({ run_id, format, correlation_id }: Fragment): string => `${run_id ?? '-'} ${format} ${correlation_id}`

const differs = (a: ParsedEvent, b: ParsedEvent): boolean => JSON.stringify({ ...a.event, event_time: 0 }) !== JSON.stringify({ ...b.event, event_time: 0 })

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch {
    return undefined
  }
}
