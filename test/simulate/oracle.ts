/** Knows every record, sees everything that becomes durable, and says what is wrong with it. */
import { sha256Hex } from '../../runtime/ids.ts'
import type { Progress } from '../../schemas/progress.ts'
import type { Reject } from '../../schemas/rejects.ts'
import type { TopicName } from '../../schemas/topics.ts'
import type { UsageEvent } from '../../schemas/usage.ts'
import type { Witness } from './bus.ts'
import type { VirtualClock } from './clock.ts'
import type { Life } from './life.ts'
import type { TrueRecord } from './truth.ts'

export interface OracleOptions {
  clock: VirtualClock
  /** All records that must be collected. */
  records: readonly TrueRecord[]
  /** Numbers of a checkpoint that must never go back, by name. */
  marks: (checkpoint: unknown) => Record<string, number>
  /** Two collectors share the checkpoint: the marks may go back then, for the slower one knows less. */
  shared: boolean
  /** How far back a first start begins, ms, as far as the clocks are right. */
  start: number
  /** ms of waking time since then; what was visible so long must be held or said to be missing. */
  awakeSince: (at: number) => number
  /** What the collector's machine takes for the time. */
  localNow: () => number
  /** So much waking time something visible may be missing while a stream says that it is complete, ms. */
  honest_within: number
}

const SILENCE = 180_000
// It is written every few seconds: what it remembers must not grow with what was collected.
const LARGEST_CHECKPOINT = 65_536

/** What one identity should give and gave. */
interface Account {
  due: number
  stream: number
  time: number
  visible_at: number
  /** Ids on the bus, with the instant of the first publication. */
  ids: Map<string, number>
}

export interface Figures {
  records: number
  events: number
  published: number
  lost: number
  twice: number
  /** Published / events. */
  amplification: number
  checkpoints: number
  progress: number
  /** Waking ms from being visible to being on the bus, by the scan that had to find it; calm worlds only. */
  ages: ReadonlyMap<string, readonly number[]>
}

export class Oracle implements Witness {
  readonly #options: OracleOptions
  readonly #accounts = new Map<string, Account>()
  readonly #cut = new Map<string, { n: number; found: boolean; record: TrueRecord }>()
  readonly #marks = new Map<string, Record<string, number>>()
  /** When a stream had its first checkpoint: a process that died before had not begun to collect. */
  readonly #begun = new Map<string, number>()
  /** When a stream spoke last, and since when it does without a pause. */
  readonly #told_at = new Map<string, { at: number; since: number }>()
  readonly #faults = new Map<string, string[]>()
  readonly #ages = new Map<string, number[]>()
  #published = 0
  #checkpoints = 0
  #progress = 0

  constructor(options: OracleOptions) {
    this.#options = options
    for (const record of options.records) {
      if (record.kind === 'cut') this.#cut.set(sha256Hex(record.body), { n: record.n, found: false, record })
      if (record.identity === '') continue
      const account = this.#accounts.get(record.identity)
      if (account === undefined) this.#accounts.set(record.identity, { due: 1, stream: record.stream, time: record.time, visible_at: record.visible_at, ids: new Map() })
      else if (record.kind === 'twin') account.due++
      else account.visible_at = Math.min(account.visible_at, record.visible_at)
    }
  }

  published(topic: TopicName, values: readonly unknown[], life: Life): void {
    if (topic === 'usage.v1') for (const value of values) this.#usage(value as UsageEvent)
    else if (topic === 'progress.v1') for (const value of values) this.#told(value as Progress)
    else if (topic === 'rejects.v1') for (const value of values) this.#reject(value as Reject)
    else this.fault('unexpected-topic', `${topic} was published in a life of ${life.steps} steps`)
  }

  stored(scope: string, key: string, value: Uint8Array | undefined): void {
    if (scope !== 'checkpoints' || value === undefined) return
    this.#checkpoints++
    if (value.length > LARGEST_CHECKPOINT) this.fault('checkpoint-large', `${key}: ${value.length} bytes`)
    if (!this.#begun.has(key)) this.#begun.set(key, this.#options.clock.now())
    const marks = this.#options.marks(JSON.parse(Buffer.from(value).toString('utf8')))
    const before = this.#marks.get(key) ?? {}
    for (const [name, at] of Object.entries(marks)) {
      const last = before[name]
      if (last !== undefined && at < last && !this.#options.shared) this.fault('checkpoint-went-back', `${key} ${name}: ${last} to ${at}`)
    }
    this.#marks.set(key, marks)
  }

  /** Kept by kind, so that a report of thousands of lost records stays readable. */
  fault(kind: string, detail: string): void {
    const list = this.#faults.get(kind)
    const line = `${iso(this.#options.clock.now())} ${detail.slice(0, 1_000)}`
    if (list === undefined) this.#faults.set(kind, [line])
    else list.push(line)
  }

  /** First publication of the record's identity; undefined: not on the bus. */
  firstSeen(record: TrueRecord): number | undefined {
    const ids = this.#accounts.get(record.identity)?.ids
    return ids === undefined || ids.size === 0 ? undefined : Math.min(...ids.values())
  }

  took(tier: string, ms: number): void {
    const list = this.#ages.get(tier)
    if (list === undefined) this.#ages.set(tier, [ms])
    else list.push(ms)
  }

  /** Call it when everything was visible for as long as the slowest scan takes. */
  close(): { figures: Figures; faults: ReadonlyMap<string, readonly string[]> } {
    let events = 0
    let lost = 0
    let twice = 0
    for (const [identity, account] of this.#accounts) {
      const { due, ids, visible_at } = account
      events += due
      if (ids.size < due && !this.#beforeTheFirstStart(account)) {
        lost += due - ids.size
        this.fault('lost', `${identity}: ${ids.size} of ${due}, visible since ${iso(visible_at)}`)
      }
      if (ids.size > due) {
        twice += ids.size - due
        this.fault('counted-twice', `${identity}: ${ids.size} ids for ${due}, first at ${[...ids.values()].slice(0, 5).map(iso).join(', ')}`)
      }
    }
    for (const { n, found, record } of this.#cut.values()) if (!found && !this.#beforeTheFirstStart(record)) this.fault('reject-lost', `record ${n} has no row in rejects`)
    const figures: Figures = {
      records: this.#options.records.length,
      events,
      published: this.#published,
      lost,
      twice,
      amplification: this.#published / Math.max(1, events),
      checkpoints: this.#checkpoints,
      progress: this.#progress,
      ages: this.#ages,
    }
    return { figures, faults: this.#faults }
  }

  #beforeTheFirstStart({ stream, time }: { stream: number; time: number }): boolean {
    const [, begun] = [...this.#begun].find(([key]) => key.includes(streamName(stream))) ?? []
    return begun !== undefined && time < begun - this.#options.start
  }

  #usage(event: UsageEvent): void {
    this.#published++
    const account = this.#accounts.get(event.request_id ?? '')
    if (account === undefined) return this.fault('invented', `an event of request ${event.request_id ?? 'none'} that never was`)
    const now = this.#options.clock.now()
    if (now < account.visible_at) this.fault('too-early', `${event.request_id} is on the bus before it was visible`)
    if (!account.ids.has(event.event_id)) account.ids.set(event.event_id, now)
  }

  #reject(reject: Reject): void {
    const known = this.#cut.get(reject.sha256)
    if (known === undefined) this.fault('wrong-reject', `${reject.reason}: ${reject.detail}`)
    else known.found = true
  }

  #told(progress: Progress): void {
    this.#progress++
    const { records, accepted, skipped, rejected, completeness } = progress
    if (records !== accepted + skipped + rejected) this.fault('sums', `${progress.stream}: ${records} records, ${accepted} + ${skipped} + ${rejected}`)
    const now = this.#options.clock.now()
    const last = this.#told_at.get(progress.stream)
    // After a silence, or while it says that it is blind, the last figure stands until there is a new one.
    const silent = last === undefined || progress.blind || now - last.at > SILENCE
    this.#told_at.set(progress.stream, { at: now, since: silent ? now : last.since })
    // What waited for the bus says how it was when it was written.
    if (completeness === 1 && !silent && this.#options.localNow() - progress.at < SILENCE) this.#checkHonest(progress, last.since)
  }

  #checkHonest({ stream, source_stream }: Progress, since: number): void {
    for (const record of this.#missing()) {
      if (!source_stream.includes(streamName(record.stream)) || this.#beforeTheFirstStart(record)) continue
      if (this.#options.awakeSince(Math.max(record.visible_at, since)) > this.#options.honest_within)
        this.fault('dishonest', `${stream} says 100 %, but record ${record.n} is missing since ${iso(record.visible_at)}`)
    }
  }

  /** Records not yet on the bus; shrinks as they arrive. */
  #open: TrueRecord[] | undefined
  #missing(): readonly TrueRecord[] {
    this.#open = (this.#open ?? this.#options.records.filter(({ identity }) => identity !== '')).filter((record) => {
      const account = this.#accounts.get(record.identity)
      return account !== undefined && account.ids.size < account.due
    })
    return this.#open
  }
}

/** How the worlds name their log groups and tables. */
export const streamName = (index: number): string => `stream_${index}_`

const iso = (at: number): string => new Date(at).toISOString()
