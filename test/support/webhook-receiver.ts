/** An HTTP server on 127.0.0.1 that keeps what it gets, checks signatures with the public package, and answers as it is told. */
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'

export interface ReceivedWebhook {
  id: string
  headers: IncomingHttpHeaders
  body: string
  path: string
  /** The signature fits the body, says the public package. */
  verified: boolean
}

/** What to answer; `hang`: never; `close`: hang up without a word. */
export type Answer = { status: number; headers?: Record<string, string>; body?: string } | 'hang' | 'close'

export interface WebhookReceiver {
  url: string
  secret: string
  received: ReceivedWebhook[]
  /** Answers for the next requests in order; when it is empty, `otherwise`. */
  answers: Answer[]
  otherwise: Answer
  close(): Promise<void>
}

export async function startWebhookReceiver(options: { port?: number; secret?: string } = {}): Promise<WebhookReceiver> {
  const secret = options.secret ?? `whsec_${Buffer.alloc(32, 7).toString('base64')}`
  const verifier = new Webhook(secret)
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const body = Buffer.concat(parts).toString('utf8')
      receiver.received.push({
        id: String(request.headers['webhook-id']),
        headers: request.headers,
        body,
        path: request.url ?? '',
        verified: verifies(verifier, body, request.headers),
      })
      const answer = receiver.answers.shift() ?? receiver.otherwise
      if (answer === 'hang') return
      if (answer === 'close') {
        request.socket.destroy()
        return
      }
      response.writeHead(answer.status, answer.headers)
      response.end(answer.body ?? '')
    })
  })
  const receiver: WebhookReceiver = {
    url: '',
    secret,
    received: [],
    answers: [],
    otherwise: { status: 204 },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve))
  receiver.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
  return receiver
}

function verifies(verifier: Webhook, body: string, headers: IncomingHttpHeaders): boolean {
  try {
    verifier.verify(body, headers as Record<string, string>)
    return true
  } catch {
    return false
  }
}
