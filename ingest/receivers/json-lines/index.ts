/** JSON lines over HTTP: for shippers that can POST (Fluent Bit, Vector, a script), with a bearer token. */
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { z } from 'zod'
import { Refusal } from '../../../runtime/http-guard.ts'
import type { HttpAnswer, HttpRequest } from '../../../runtime/http.ts'
import { sha256Hex } from '../../../runtime/ids.ts'
import type { Accepted, Pushed, Receiver, ReceiverContext, ReceiverSpec } from '../../receiver.ts'
import { expandEnvelope } from '../../shapes/envelopes.ts'

const config = z.strictObject({}).describe('JSON lines, plain or gzip, with a bearer token')

export const jsonLines: ReceiverSpec<z.infer<typeof config>> & { config: typeof config } = {
  id: 'json-lines',
  summary: 'one log record a line, plain or gzip, from whatever can POST',
  config,
  example: {},
  create: (_config, context) => new JsonLines(context),
}

const unzip = promisify(gunzip)

class JsonLines implements Receiver {
  readonly #context: ReceiverContext

  constructor(context: ReceiverContext) {
    this.#context = context
  }

  token({ headers }: HttpRequest): string | null {
    return /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1] ?? null
  }

  async read(request: HttpRequest, body: Buffer): Promise<Pushed> {
    const { id, max_unpacked_bytes } = this.#context
    const text = await this.#text(request, body)
    const pushed: Pushed = { records: [], broken: [] }
    // The same body is the same push: what is sent again keeps its ids.
    const scope = sha256Hex(body)
    let number = 0
    for (const line of text.split('\n')) {
      number++
      if (line.trim() === '') continue
      const origin = { source: 'json-lines', stream: id }
      const broken = (why: string, detail: string): void =>
        void pushed.broken.push({ record: { id: `${scope} ${number}`, at: 0, ingested_at: null, body: line, origin }, why, detail: `line ${number} ${detail}` })
      const expanded = expandEnvelope(line.endsWith('\r') ? line.slice(0, -1) : line, { max_bytes: max_unpacked_bytes, broken })
      for (const [part, { id: own, at, body: record, stream }] of expanded.entries())
        pushed.records.push({ id: own ?? `${scope} ${number}.${part}`, at, ingested_at: null, body: record, origin: { ...origin, stream: stream ?? id } })
    }
    return pushed
  }

  answer(_request: HttpRequest, _body: Buffer | null, result: { accepted: Accepted } | { status: number; error: string }): HttpAnswer {
    return 'accepted' in result ? { json: result.accepted } : { status: result.status, json: { error: result.error } }
  }

  /** gzip is told by its first two bytes: shippers do not all send the header. */
  async #text({ headers }: HttpRequest, body: Buffer): Promise<string> {
    const limit = this.#context.max_unpacked_bytes
    if (!(body[0] === 0x1f && body[1] === 0x8b)) return plainText(body, headers['content-encoding'])
    try {
      return (await unzip(body, { maxOutputLength: limit })).toString('utf8')
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ERR_BUFFER_TOO_LARGE') throw new Refusal(413, `the body unpacks to more than ${limit} bytes`)
      throw new Refusal(400, 'the body is a damaged gzip')
    }
  }
}

/** What is not text would be no record of ours in every line: a 200 for it would make the sender forget what nobody has read. */
function plainText(body: Buffer, encoding: string | undefined): string {
  if (encoding !== undefined && !/^(?:identity|x-gzip|gzip)?$/i.test(encoding.trim())) throw new Refusal(400, `the body is ${encoding.slice(0, 40)}: send it plain or as gzip`)
  try {
    // Only the begin: one broken character in a line is the trouble of that line.
    new TextDecoder('utf-8', { fatal: true }).decode(body.subarray(0, 4), { stream: true })
  } catch {
    throw new Refusal(400, 'the body is no UTF-8 text: send JSON lines or a JSON array (Fluent Bit: `format json_lines`; Vector: `encoding.codec: json`)')
  }
  return body.toString('utf8')
}
