/** Port of alert sinks: one message out, one receipt back. Retries, schedules and records are delivery.ts's work. */
import type { PluginSpec } from '../runtime/plugin.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/log.ts'
import type { Alert } from '../schemas/alerts.ts'
import type { Response } from '../schemas/responses.ts'

/** What a sink tells. Everything in it is already redacted and free of control characters. */
export interface Notification {
  /** Stable over attempts: Message-ID, webhook-id. */
  notification_id: string
  kind: 'firing' | 'raised' | 'ongoing' | 'resolved'
  alert: Alert
  /** The proposal that stands, if there is one. */
  proposal: Response | null
  /** Number of notifications of this alert before this one: for threads. */
  sequence: number
}

/** accepted: the other side took it. retry: later. permanent: never. disabled: the channel is gone (410). unknown: sent, no answer. */
export interface Receipt {
  outcome: 'accepted' | 'retry' | 'permanent' | 'disabled' | 'unknown'
  /** The other side's id of the message. */
  receipt?: string
  /** For people: what went wrong and what to do; no URLs with secrets in them. */
  error?: string
  retry_after_ms?: number
}

/** A throw counts as `unknown` after the body went out cannot be excluded; sinks return a Receipt wherever they can tell. */
export interface AlertSink {
  send(notification: Notification, signal: AbortSignal): Promise<Receipt>
  probe?(signal: AbortSignal): Promise<void>
  close?(): Promise<void>
}

export interface SinkContext {
  clock: Clock
  log: Logger
  /** Where people read more (console.public_url); null if there is none. */
  console_url: string | null
}

export interface SinkSpec<C> extends PluginSpec<C> {
  create(config: C, context: SinkContext): AlertSink
}
