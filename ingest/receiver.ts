/**
 * Port of receivers: logs that are pushed to us over HTTP. A receiver owns the form of requests and answers, nothing else;
 * receivers/accept.ts owns parsing, publishing and counting, receivers/index.ts the token, the limits and the routes.
 */
import type { Clock } from '../runtime/clock.ts'
import type { HttpAnswer, HttpRequest } from '../runtime/http.ts'
import type { PluginSpec } from '../runtime/plugin.ts'
import type { RawRecord } from './source.ts'

/** What one request carried. */
export interface Pushed {
  /** Each with an id that it keeps when the same request is sent again. */
  records: RawRecord[]
  /** Parts that could not be unpacked: each becomes a reject, the rest goes on. Only the hash and the length of `record.body` are kept. */
  broken: { record: RawRecord; why: string; detail: string }[]
}

/** records = accepted + the sums of skipped and rejected. */
export interface Accepted {
  records: number
  accepted: number
  skipped: Record<string, number>
  rejected: Record<string, number>
}

export interface ReceiverContext {
  /** Name of the receiver in the config; the stream of records that name none. */
  id: string
  clock: Clock
  /** Most bytes that one compressed part may unpack to. */
  max_unpacked_bytes: number
}

export interface Receiver {
  /** The token that the request shows; null: none. Compared in constant time by the caller. */
  token(request: HttpRequest): string | null
  /** What the body says. Throws Refusal (runtime/http-guard.ts) for a request that is not one of ours. Called only with the right token. */
  read(request: HttpRequest, body: Buffer): Promise<Pushed>
  /**
   * The answer. Called with the counts only after every event is durable on the bus; with an error otherwise: then the sender must
   * send again, which is harmless, because the same records give the same events.
   */
  answer(request: HttpRequest, body: Buffer | null, result: { accepted: Accepted } | { status: number; error: string }): HttpAnswer
}

export interface ReceiverSpec<C> extends PluginSpec<C> {
  create(config: C, context: ReceiverContext): Receiver
}
