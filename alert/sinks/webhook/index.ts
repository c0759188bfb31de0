/** Signed webhooks after the Standard Webhooks specification. Receivers deduplicate by `webhook-id`, so a repetition is harmless. */
import { z } from 'zod'
import { HttpOutError, type HttpAnswer } from '../../../runtime/http-out.ts'
import { jsonOf } from '../../render/json.ts'
import type { AlertSink, Receipt, SinkSpec } from '../../sink.ts'
import { createEndpoint, endpointFields, retryAfterMs } from '../../webhook/endpoint.ts'

export const webhookConfig = z.strictObject({ kind: z.literal('webhook'), ...endpointFields }).describe('Signed JSON to an https address (Standard Webhooks)')
export type WebhookConfig = z.infer<typeof webhookConfig>

export const webhookSink: SinkSpec<WebhookConfig> = {
  id: 'webhook',
  summary: 'Signed JSON to an https address (Standard Webhooks): retried, deduplicable by webhook-id; 410 switches it off.',
  config: webhookConfig,
  example: { kind: 'webhook', url: 'https://hooks.example.com/tokenwatch', secret: { env: 'TOKENWATCH_WEBHOOK_SECRET' } },
  create: (config, context): AlertSink => {
    const endpoint = createEndpoint(config, context, 'alerts.sinks webhook')
    return {
      send: async (notification, signal) => {
        try {
          return receiptOf(await endpoint.post(notification.notification_id, jsonOf(notification, context.console_url), signal), context.clock.now())
        } catch (error) {
          return failureOf(error)
        }
      },
      probe: () => endpoint.check(),
      close: () => endpoint.close(),
    }
  },
}

function receiptOf(answer: HttpAnswer, now: number): Receipt {
  const { status } = answer
  if (status >= 200 && status < 300) return { outcome: 'accepted', receipt: `HTTP ${status}` }
  if (status === 410) return { outcome: 'disabled', error: 'the receiver answered 410 Gone: it does not want messages any more; remove the sink or give it a new address' }
  if (status >= 300 && status < 400)
    return { outcome: 'permanent', error: `the receiver answered with a redirect (${status}); redirects are not followed, configure the final address` }
  const wait = retryAfterMs(answer.headers['retry-after'], now)
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    return { outcome: 'retry', error: `the receiver answered ${status}`, ...(wait === undefined ? {} : { retry_after_ms: wait }) }
  }
  return { outcome: 'permanent', error: `the receiver refused the message with ${status}${status === 401 || status === 403 ? ': do both sides have the same secret?' : ''}` }
}

function failureOf(error: unknown): Receipt {
  if (!(error instanceof HttpOutError)) throw error
  if (error.kind === 'blocked') return { outcome: 'permanent', error: `${error.message}; for a receiver inside your network set "internal" on this sink` }
  return { outcome: error.sent ? 'unknown' : 'retry', error: error.message }
}
