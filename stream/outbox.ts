/** Findings and refused events on their way to the bus: stamped once, sent until the bus has them. Nothing is snapshot while it waits here. */
import type { Bus } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import { messageOf } from '../runtime/errors.ts'
import { nameUuid, sha256Hex } from '../runtime/ids.ts'
import type { Logger } from '../runtime/log.ts'
import { retry } from '../runtime/retry.ts'
import { plainText } from '../runtime/text.ts'
import type { Finding } from '../schemas/findings.ts'
import type { Reject } from '../schemas/rejects.ts'
import type { Emitted, FoldFailure } from './keyed.ts'
import { runnerMetrics } from './metrics.ts'

const PAYLOAD_LIMIT = 65_536

export class Outbox {
  readonly #bus: Bus
  readonly #clock: Clock
  readonly #log: Logger
  readonly #backfill_after: number
  #findings: Finding[] = []
  #rejects: Reject[] = []

  constructor(bus: Bus, clock: Clock, log: Logger, backfill_after: number) {
    this.#bus = bus
    this.#clock = clock
    this.#log = log
    this.#backfill_after = backfill_after
  }

  get size(): number {
    return this.#findings.length + this.#rejects.length
  }

  clear(): void {
    this.#findings = []
    this.#rejects = []
  }

  add(emitted: readonly Emitted[], failures: readonly FoldFailure[]): void {
    const now = this.#clock.now()
    for (const one of emitted) this.#findings.push(stamp(one, now, this.#backfill_after))
    for (const failure of failures) {
      this.#log.error('a detector could not take an event', { detector: failure.spec.id, entity: failure.entity, error: messageOf(failure.error) })
      runnerMetrics.failures.inc({ detector: failure.spec.id })
      if (failure.event !== null) this.#rejects.push(rejectOf(failure, failure.event, now))
    }
  }

  /** Resolves when everything is durable; rejects only when the signal aborts meanwhile. */
  async flush(signal: AbortSignal): Promise<void> {
    const again = { clock: this.#clock, signal, what: 'the bus (findings)', log: this.#log }
    if (this.#findings.length > 0) {
      await retry(() => this.#bus.publish('findings.v1', this.#findings), again)
      for (const { detector, severity } of this.#findings) runnerMetrics.findings.inc({ detector, severity })
      this.#findings = []
    }
    if (this.#rejects.length > 0) {
      await retry(() => this.#bus.publish('rejects.v1', this.#rejects), again)
      this.#rejects = []
    }
  }
}

function stamp({ run, keyed, spec, finding }: Emitted, now: number, backfill_after: number): Finding {
  const { value } = run.watermark
  return {
    ...finding,
    finding_id: nameUuid(spec.id, finding.entity, finding.window_start),
    detector: spec.id,
    detector_version: spec.version,
    detected_at: now,
    freshness: { watermark: Number.isFinite(value) ? Math.max(0, Math.floor(value)) : null, completeness: run.watermark.completeness(now), late: keyed.late },
    run_id: run.run_id,
    backfill: run.run_id !== null || finding.last_event_time < now - backfill_after,
  }
}

function rejectOf({ spec, topic, entity, error }: FoldFailure, event: NonNullable<FoldFailure['event']>, now: number): Reject {
  const payload = JSON.stringify(event)
  const sha256 = sha256Hex(payload)
  return {
    reject_id: nameUuid(event.source, event.source_stream, `detect ${spec.id} ${entity ?? ''}`, sha256),
    received_at: now,
    source: event.source,
    source_stream: event.source_stream,
    stage: 'detect',
    plugin: spec.id,
    run_id: event.run_id,
    reason: 'detector-failed',
    detail: plainText(messageOf(error), 2000),
    size_bytes: Buffer.byteLength(payload),
    sha256,
    topic,
    payload: payload.length <= PAYLOAD_LIMIT ? payload : null,
  }
}
