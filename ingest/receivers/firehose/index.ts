/**
 * Amazon Data Firehose, HTTP endpoint delivery (specification in AWS's "HTTP endpoint delivery request and response
 * specifications"): CloudWatch Logs subscription → Firehose → here. Also what applications put into Firehose themselves.
 */
import { promisify } from 'node:util'
import { gunzip, gunzipSync } from 'node:zlib'
import { z } from 'zod'
import { messageOf } from '../../../runtime/errors.ts'
import { Refusal } from '../../../runtime/http-guard.ts'
import type { HttpAnswer, HttpRequest } from '../../../runtime/http.ts'
import { sha256Hex } from '../../../runtime/ids.ts'
import type { Accepted, Pushed, Receiver, ReceiverContext, ReceiverSpec } from '../../receiver.ts'
import { expandEnvelope } from '../../shapes/envelopes.ts'
import { asLabel, asObject } from '../../shapes/json.ts'
import type { RawRecord } from '../../source.ts'

const config = z.strictObject({}).describe('Amazon Data Firehose HTTP endpoint, for CloudWatch Logs subscriptions')

export const firehose: ReceiverSpec<z.infer<typeof config>> & { config: typeof config } = {
  id: 'firehose',
  summary: 'CloudWatch Logs subscriptions over the HTTP endpoint delivery of Amazon Data Firehose',
  config,
  example: {},
  create: (_config, context) => new Firehose(context),
}

const unzipAside = promisify(gunzip)
/** For a small part the way to another thread and back takes several times as long as the work; 4 kB give at most 4 MB, some milliseconds. */
const SMALL_BYTES = 4_096
const unzip = (bytes: Buffer, maxOutputLength: number): Buffer | Promise<Buffer> =>
  bytes.length <= SMALL_BYTES ? gunzipSync(bytes, { maxOutputLength }) : unzipAside(bytes, { maxOutputLength })
/** Compressed parts of one request together, as a multiple of what one may unpack to. */
const PARTS_TOGETHER = 8

class Firehose implements Receiver {
  readonly #context: ReceiverContext

  constructor(context: ReceiverContext) {
    this.#context = context
  }

  token(request: HttpRequest): string | null {
    const shown = request.headers['x-amz-firehose-access-key']
    return typeof shown === 'string' ? shown : null
  }

  async read(request: HttpRequest, body: Buffer): Promise<Pushed> {
    const json = asObject(await this.#json(request, body))
    const records = json?.['records']
    if (!Array.isArray(records)) throw new Refusal(400, 'the body has no `records`: this path takes the HTTP endpoint delivery of Amazon Data Firehose')
    const pushed: Pushed = { records: [], broken: [] }
    const budget = { left: this.#context.max_unpacked_bytes * PARTS_TOGETHER }
    // Firehose keeps the id of a request that it sends again: so each record keeps its own.
    const scope = asLabel(json?.['requestId'], 128) ?? sha256Hex(body)
    for (const [index, record] of (records as unknown[]).entries()) await this.#unpack(asObject(record)?.['data'], `${scope} ${index}`, budget, pushed)
    return pushed
  }

  answer(request: HttpRequest, _body: Buffer | null, result: { accepted: Accepted } | { status: number; error: string }): HttpAnswer {
    const said = request.headers['x-amz-firehose-request-id']
    const requestId = typeof said === 'string' ? said.slice(0, 256) : ''
    const timestamp = this.#context.clock.now()
    if ('accepted' in result) return { json: { requestId, timestamp } }
    return { status: result.status, json: { requestId, timestamp, errorMessage: result.error } }
  }

  /** Firehose may be told to compress its requests. */
  async #json(request: HttpRequest, body: Buffer): Promise<unknown> {
    const limit = this.#context.max_unpacked_bytes
    try {
      const text = request.headers['content-encoding'] === 'gzip' ? await unzip(body, limit) : body
      return JSON.parse(text.toString('utf8'))
    } catch (error) {
      if (isTooLarge(error)) throw new Refusal(413, `the body unpacks to more than ${limit} bytes`)
      throw new Refusal(400, 'the body is not JSON, or gzip of it')
    }
  }

  async #unpack(data: unknown, name: string, budget: { left: number }, pushed: Pushed): Promise<void> {
    const { id, max_unpacked_bytes } = this.#context
    const origin = { source: 'firehose', stream: id }
    const whole = (body: string): RawRecord => ({ id: name, at: 0, ingested_at: null, body, origin })
    const refuse = (why: string, detail: string): void => void pushed.broken.push({ record: whole(typeof data === 'string' ? data : (JSON.stringify(data) ?? '')), why, detail })
    if (typeof data !== 'string') return refuse('bad-envelope', 'the record has no data')
    // Node skips what is no base64: garbage would come out.
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(data)) return refuse('bad-envelope', 'the data of the record is no base64')
    const bytes = Buffer.from(data, 'base64')
    let text = bytes.toString('utf8')
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
      try {
        const unpacked = await unzip(bytes, Math.max(1, Math.min(max_unpacked_bytes, budget.left)))
        budget.left -= unpacked.length
        text = unpacked.toString('utf8')
      } catch (error) {
        if (!isTooLarge(error)) return refuse('bad-gzip', `cannot be unpacked: ${messageOf(error)}`)
        budget.left -= max_unpacked_bytes
        return refuse('too-large', `unpacks to more than ${max_unpacked_bytes} bytes, or all parts together to more than ${PARTS_TOGETHER} times as much`)
      }
    }
    for (const [number, line] of linesOf(text).entries()) {
      const broken: [string, string][] = []
      const expanded = expandEnvelope(line, { max_bytes: max_unpacked_bytes, broken: (why, detail) => void broken.push([why, detail]) })
      for (const [part, { id: own, at, body, stream }] of expanded.entries())
        pushed.records.push({ id: own ?? `${name}.${number}.${part}`, at, ingested_at: null, body, origin: { source: 'firehose', stream: stream ?? id } })
      for (const [why, detail] of broken) pushed.broken.push({ record: whole(line), why, detail })
    }
  }
}

/** Firehose puts unpacked envelopes one behind the other without a line feed. Inside of a text the quote would be escaped. */
const linesOf = (text: string): string[] =>
  text
    .replaceAll('}{"messageType":', '}\n{"messageType":')
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')

const isTooLarge = (error: unknown): boolean => (error as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE'
