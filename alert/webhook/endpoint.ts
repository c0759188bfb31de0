/** A signed POST to one configured address, as the webhook sink and the webhook responder share it. */
import { z } from 'zod'
import { duration } from '../../runtime/duration.ts'
import { UsageError } from '../../runtime/errors.ts'
import { createHttpOut, type HttpAnswer, type HttpOut } from '../../runtime/http-out.ts'
import { resolveSecret, secretRef } from '../../runtime/secrets.ts'
import type { SinkContext } from '../sink.ts'
import { signedHeaders, signingKey } from './sign.ts'

export const endpointFields = {
  url: z.url().or(secretRef).describe('https address; as {env: NAME} or {file: PATH} where its path is a secret'),
  secret: secretRef.describe('signing secret, whsec_…'),
  previous_secret: secretRef.optional().describe('second signature while receivers change over to a new secret'),
  internal: z
    .strictObject({
      cidrs: z
        .array(z.union([z.cidrv4(), z.cidrv6()]))
        .min(1)
        .describe('ranges that the addresses of this host may lie in'),
      http: z.boolean().default(false).describe('allow plain http'),
    })
    .optional()
    .describe('for a receiver inside your own network: without it private addresses are refused'),
  timeout: duration.prefault('10s').describe('longest time for one request'),
}

const endpointConfig = z.object(endpointFields)
export type EndpointConfig = z.infer<typeof endpointConfig>

export interface Endpoint {
  /** Throws HttpOutError. */
  post(id: string, body: string, signal: AbortSignal): Promise<HttpAnswer>
  check(): Promise<void>
  close(): Promise<void>
}

export function createEndpoint(config: EndpointConfig, context: SinkContext, where: string): Endpoint {
  const url = typeof config.url === 'string' ? config.url : resolveSecret(config.url)
  if (!URL.canParse(url)) throw new UsageError(`${where}: url is not a URL`)
  const keys = [signingKey(resolveSecret(config.secret), `${where}.secret`)]
  if (config.previous_secret !== undefined) keys.push(signingKey(resolveSecret(config.previous_secret), `${where}.previous_secret`))
  const { internal } = config
  const out: HttpOut = createHttpOut({
    clock: context.clock,
    timeout_ms: config.timeout,
    ...(internal === undefined ? {} : { allow: [{ host: new URL(url).hostname, cidrs: internal.cidrs, http: internal.http }] }),
  })
  return {
    post: (id, body, signal) =>
      out.post(url, {
        headers: { 'content-type': 'application/json; charset=utf-8', 'user-agent': 'tokenwatch', ...signedHeaders(id, context.clock.now(), body, keys) },
        body,
        signal,
      }),
    check: () => out.check(url),
    close: () => out.close(),
  }
}

/** Milliseconds that a Retry-After header asks for: seconds or an HTTP date. */
export function retryAfterMs(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined
  // However many: what is too long is cut by delivery.retry_after_max, and is no reason to come sooner.
  if (/^\d+$/.test(header.trim())) return Number(header.trim()) * 1000
  const at = Date.parse(header)
  return Number.isNaN(at) ? undefined : Math.max(0, at - now)
}
