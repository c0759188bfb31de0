/**
 * Event time of one run: how far all its streams have been read. Pure bookkeeping, no I/O; the runner decides when a progress
 * record becomes effective (see barriers there).
 *
 * watermark = min(scanned_to over the streams that hold it) - lateness; it never goes back.
 * A stream holds the watermark unless it is done, blind, or (live only) silent for `silent_after`. A stream whose scanned_to
 * is still unknown holds it at -Infinity. A run of `ingest` is never hurried by silence: its end comes as `done`.
 */
import type { Progress } from '../schemas/progress.ts'

export interface StreamState {
  scanned_to: number | null
  completeness: number | null
  blind: boolean
  done: boolean
  /** Wall time of the last progress record, as we saw it. */
  seen_at: number
}

export interface WatermarkOptions {
  lateness: number
  silent_after: number
  /** Without any progress (push only) event time follows the newest event at this distance. */
  unpaced_lateness: number
}

/** Event time [from, to) in which some stream could not be seen: who is silent there is missing, not at zero. */
export type Gap = [from: number, to: number]

export interface WatermarkState {
  watermark: number | null
  last_event_time: number | null
  streams: [string, StreamState][]
  gaps?: Gap[] | undefined
}

/** A stream that has been away for a day is gone: the keys of the others must not stop learning for it. */
const GAP_MS = 86_400_000
/** Longest memory of a fold that catches up with its silence. */
const GAPS = 64

export class Watermark {
  readonly live: boolean
  readonly #options: WatermarkOptions
  readonly #streams = new Map<string, StreamState>()
  #first_seen: number
  /** -Infinity: nothing is known yet. */
  value = -Infinity
  last_event_time = -Infinity
  /** In order, apart from each other. */
  gaps: Gap[] = []

  constructor(live: boolean, options: WatermarkOptions, wall: number) {
    this.live = live
    this.#options = options
    this.#first_seen = wall
  }

  observe(progress: Progress, wall: number): void {
    const before = this.#streams.get(progress.stream)
    // Progress of a live stream may start again at an older time after a reset of its checkpoint: take what it says.
    this.#streams.set(progress.stream, {
      scanned_to: progress.scanned_to ?? before?.scanned_to ?? null,
      completeness: progress.completeness,
      blind: progress.blind,
      done: progress.done,
      seen_at: wall,
    })
  }

  /** The new watermark; it is never below the old one. */
  advance(wall: number): number {
    const { lateness, silent_after, unpaced_lateness } = this.#options
    let holding = Infinity
    let finished = -Infinity
    for (const stream of this.#streams.values()) {
      const at = stream.scanned_to ?? -Infinity
      if (stream.done) finished = Math.max(finished, at)
      else if (!this.#released(stream, wall)) holding = Math.min(holding, at)
    }
    if (holding === Infinity) holding = finished
    if (this.#streams.size === 0 && this.live && wall - this.#first_seen >= silent_after) holding = this.last_event_time - unpaced_lateness
    this.value = Math.max(this.value, holding - lateness)
    for (const { scanned_to, ...stream } of this.#streams.values()) {
      if (scanned_to !== null && !stream.done && scanned_to < this.value && scanned_to >= this.value - GAP_MS && this.#released(stream, wall)) this.#missed(scanned_to, this.value)
    }
    return this.value
  }

  #missed(from: number, to: number): void {
    const apart = this.gaps.filter(([start, end]) => end < from || start > to)
    const joined = this.gaps.filter(([start, end]) => end >= from && start <= to)
    const gap: Gap = [Math.min(from, ...joined.map(([start]) => start)), Math.max(to, ...joined.map(([, end]) => end))]
    this.gaps = [...apart, gap].sort(([a], [b]) => a - b).slice(-GAPS)
  }

  /** Every stream that we heard of is read to its end. A collector announces all its streams before the first `done`. */
  get done(): boolean {
    return this.#streams.size > 0 && [...this.#streams.values()].every((stream) => stream.done)
  }

  /** Worst known completeness times the share of streams that can be seen; null: no stream can tell and none is blind. */
  completeness(wall: number): number | null {
    let worst: number | null = null
    let unseen = 0
    for (const stream of this.#streams.values()) {
      if (!stream.done && this.#released(stream, wall)) unseen++
      else if (stream.completeness !== null) worst = Math.min(worst ?? 1, stream.completeness)
    }
    return unseen === 0 ? worst : ((worst ?? 1) * (this.#streams.size - unseen)) / this.#streams.size
  }

  encode(): WatermarkState {
    const finite = (value: number) => (Number.isFinite(value) ? value : null)
    return { watermark: finite(this.value), last_event_time: finite(this.last_event_time), streams: [...this.#streams], gaps: this.gaps }
  }

  /** Silence counts from now: while we were away we could not hear anybody. */
  static decode(state: WatermarkState, live: boolean, options: WatermarkOptions, wall: number): Watermark {
    const watermark = new Watermark(live, options, wall)
    watermark.value = state.watermark ?? -Infinity
    watermark.last_event_time = state.last_event_time ?? -Infinity
    watermark.gaps = state.gaps ?? []
    for (const [name, stream] of state.streams) watermark.#streams.set(name, { ...stream, seen_at: wall })
    return watermark
  }

  #released(stream: Pick<StreamState, 'blind' | 'seen_at'>, wall: number): boolean {
    return stream.blind || (this.live && wall - stream.seen_at >= this.#options.silent_after)
  }
}
