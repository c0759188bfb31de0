/** The registry of receivers, how the config names them, and their routes. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { messageOf, TransientError, UsageError } from '../../runtime/errors.ts'
import { Refusal } from '../../runtime/http-guard.ts'
import type { HttpAnswer, HttpRequest, Route } from '../../runtime/http.ts'
import { counter } from '../../runtime/metrics.ts'
import { resolveSecret, secretRef } from '../../runtime/secrets.ts'
import { label } from '../../schemas/scalars.ts'
import { createFormats, formatsConfig } from '../formats/index.ts'
import type { Receiver, ReceiverContext, ReceiverSpec } from '../receiver.ts'
import { type AcceptDeps, createAccept } from './accept.ts'
import { firehose } from './firehose/index.ts'
import { jsonLines } from './json-lines/index.ts'

interface ReceiverEntry {
  id: string
  summary: string
  config: z.ZodObject
  example: unknown
  open(config: unknown, context: ReceiverContext): Receiver
}

/** `config` must be an object schema: the fields that every receiver has are added to it. */
const entry = <C>(spec: ReceiverSpec<C> & { config: z.ZodObject }): ReceiverEntry => ({
  id: spec.id,
  summary: spec.summary,
  config: spec.config,
  example: spec.example,
  open: (config, context) => spec.create(config as C, context),
})

export const receivers: readonly ReceiverEntry[] = [entry(firehose), entry(jsonLines)]

const shared = {
  id: label
    .min(1)
    .regex(/^[\w.-]+$/, 'letters, digits, dot, dash and underscore')
    .describe('your name for this receiver'),
  path: z
    .string()
    .regex(/^\/receive\/[\w.-]{1,100}$/, '/receive/ and a name')
    .optional()
    .describe('where it is on the HTTP server of this process; default: /receive/<id>'),
  token: secretRef.describe('what senders must show; at least 16 characters'),
  max_body_bytes: z.int().min(1_000).max(67_108_864).default(16_777_216).describe('a longer request is refused with 413 and stored nowhere'),
  max_unpacked_bytes: z.int().min(1_000).max(268_435_456).default(33_554_432).describe('what one compressed part may unpack to; more is a reject, the rest of the request goes on'),
  formats: formatsConfig.unwrap().optional(),
}

const choices = receivers.map((receiver) => z.strictObject({ kind: z.literal(receiver.id), ...shared, ...receiver.config.shape }))
const [first, ...others] = choices
if (first === undefined) throw new Error('the registry of receivers is empty')

/** Path on the HTTP server. */
export const pathOf = ({ id, path }: { id: string; path?: string | undefined }): string => path ?? `/receive/${id}`

export const receiversConfig = z
  .array(z.discriminatedUnion('kind', [first, ...others]))
  .refine((list) => new Set(list.map(({ id }) => id)).size === list.length, 'two receivers have the same id')
  .refine((list) => new Set(list.map(pathOf)).size === list.length, 'two receivers have the same path')
  .default([])
  .describe('where logs are pushed to, on the HTTP server of a process with the role collect: console.listen with the role console, else metrics.listen')
export type ReceiversConfig = z.infer<typeof receiversConfig>

const requestsTotal = counter('tokenwatch_receiver_requests_total', 'requests with pushed logs, by answer', ['receiver', 'status'] as const)

/** A request is held in memory whole: this many at once, the others are told to come again. */
const MAX_AT_ONCE = 8
const MIN_TOKEN_LENGTH = 16

/** Routes for the HTTP server. Throws UsageError for a token that cannot be read or is too short to be one. */
export function receiverRoutes(configs: ReceiversConfig, deps: AcceptDeps): Route[] {
  return configs.map(({ id, kind, path, token: ref, max_body_bytes, max_unpacked_bytes, formats, ...config }) => {
    const found = receivers.find((receiver) => receiver.id === kind)
    if (found === undefined) throw new Error(`no receiver ${kind}`)
    const receiver = found.open(config, { id, clock: deps.clock, max_unpacked_bytes })
    const pipeline = formats === undefined ? deps.pipeline : deps.pipeline.withFormats(createFormats(formats))
    const accept = createAccept({ id, kind }, { ...deps, pipeline })
    const token = receiverToken({ id, token: ref })
    let running = 0
    const handler = async (request: HttpRequest): Promise<HttpAnswer> => {
      let body: Buffer | null = null
      running++
      try {
        // Before the body is read: who may not send cannot make us hold anything.
        if (!same(receiver.token(request) ?? '', token)) throw new Refusal(401, WRONG_TOKEN)
        if (running > MAX_AT_ONCE) throw new TransientError(`more than ${MAX_AT_ONCE} requests at once: send it again`)
        body = await request.body()
        const accepted = await accept(await receiver.read(request, body), request.signal)
        requestsTotal.inc({ receiver: id, status: '200' })
        return receiver.answer(request, body, { accepted })
      } catch (error) {
        const failed = failureOf(error)
        if (failed.status >= 500) deps.log.warn('a push was not taken', { receiver: id, error: messageOf(error) })
        requestsTotal.inc({ receiver: id, status: `${failed.status}` })
        const answer = receiver.answer(request, body, failed)
        return failed.status === 503 ? { ...answer, headers: { ...answer.headers, 'retry-after': '5' } } : answer
      } finally {
        running--
      }
    }
    // No token of the console and no Host check here: a receiver stands behind the name of a load balancer and has its own token.
    return { method: 'POST', path: pathOf({ id, path }), handler, options: { access: 'open', max_body_bytes } }
  })
}

/** Throws UsageError for a token that cannot be read or that nobody should use. */
export function receiverToken({ id, token: ref }: Pick<ReceiversConfig[number], 'id' | 'token'>): string {
  const token = resolveSecret(ref)
  const where = 'env' in ref ? `the environment variable ${ref.env}` : `the file ${ref.file}`
  const wrong =
    token.length === 0
      ? 'is empty'
      : token.length < MIN_TOKEN_LENGTH
        ? `has fewer than ${MIN_TOKEN_LENGTH} characters`
        : /[^ -~]/.test(token)
          ? 'has characters that no HTTP header carries'
          : undefined
  if (wrong !== undefined) throw new UsageError(`the token of the receiver ${id} (${where}) ${wrong}: make one with \`openssl rand -hex 32\``)
  return token
}

/** The same text for a missing and for a wrong token, so that nothing is learnt from it. */
export const WRONG_TOKEN = 'this receiver does not know the token'

function failureOf(error: unknown): { status: number; error: string } {
  if (error instanceof Refusal) return { status: error.status, error: error.message }
  if (error instanceof TransientError) return { status: 503, error: error.message }
  return { status: 500, error: 'something went wrong in Tokenwatch; its log has the reason' }
}

/** Both sides hashed: equal length, so that the comparison takes the same time for every guess. */
const same = (a: string, b: string): boolean => timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest())
