/**
 * The model behind a local HTTP server, with the paths, headers and answers of the Logs query API as Microsoft documents them:
 * POST /v1/workspaces/{id}/query with a bearer token, a JSON body {query, timespan} and Prefer: wait=…
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { LogAnalytics, Reply } from './model.ts'

export interface LogsServer {
  /** http://127.0.0.1:port */
  url: string
  /** Requests that the client gave up. */
  aborted(): number
  /** Names of headers as they came with the last request. */
  lastHeaders(): Readonly<IncomingMessage['headers']>
  close(): Promise<void>
}

export async function serveLogs(model: LogAnalytics, { token }: { token: string }): Promise<LogsServer> {
  let aborted = 0
  let headers: IncomingMessage['headers'] = {}
  const server = createServer((request, response) => {
    headers = request.headers
    response.on('close', () => {
      if (!response.writableFinished) aborted++
    })
    answer(model, token, request, response).catch(() => response.destroy())
  })
  // A test that keeps the only thread busy must not find its connection closed.
  server.keepAliveTimeout = 0
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    aborted: () => aborted,
    lastHeaders: () => headers,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

async function answer(model: LogAnalytics, token: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await textOf(request)
  const workspace = /^\/v1\/workspaces\/([^/]+)\/query$/.exec(request.url ?? '')?.[1]
  if (request.method !== 'POST' || workspace === undefined) return send(response, failure(404, 'PathNotFoundError', 'The requested path does not exist'))
  if (request.headers.authorization === undefined) return send(response, failure(401, 'AuthenticationFailed', "Authentication failed. The 'Authorization' header is missing."))
  if (request.headers.authorization !== `Bearer ${token}`) return send(response, failure(403, 'InvalidAuthenticationToken', 'The access token is invalid.'))
  // Documented: without a JSON body and its content type the answer is an empty 200.
  if (request.headers['content-type']?.startsWith('application/json') !== true || body === '') return send(response, { status: 200, headers: {}, body: null })
  const { query = '', timespan = '' } = JSON.parse(body) as { query?: string; timespan?: string }
  send(response, model.query({ workspace: decodeURIComponent(workspace), query, timespan }))
}

function send(response: ServerResponse, { status, headers, body, hangs }: Reply): void {
  if (hangs === true) return
  response.writeHead(status, headers)
  response.end(body ?? undefined)
}

const failure = (status: number, code: string, message: string): Reply => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ error: { code, message } }),
})

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
