/** Who may ask: names that may stand in Host (DNS rebinding), origins that may send (CSRF), and the token. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIPv6 } from 'node:net'
import { UsageError } from './errors.ts'

/** An answer that a handler or the guard throws; the message is for the caller. */
export class Refusal extends Error {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message)
    this.name = 'Refusal'
    this.status = status
    this.headers = headers
  }
}

interface GuardOptions {
  host: string
  tokens: readonly string[]
  hosts: readonly string[]
}

/** Throws Refusal, or says whether the caller has shown the token. */
export function createGuard({ host, tokens, hosts }: GuardOptions): (request: IncomingMessage, route: { access?: 'open' | 'default' | 'token'; linkable?: boolean }) => boolean {
  const names = new Set(['localhost', '127.0.0.1', '[::1]', host.includes(':') ? `[${host}]` : host, ...hosts].map((name) => name.toLowerCase()))
  return (request, { access = 'default', linkable = false }) => {
    if (access === 'open') return false
    checkHost(request, names)
    checkOrigin(request, linkable)
    const shown = presentedToken(request)
    const authenticated = shown !== '' && tokens.some((token) => same(shown, token))
    // On a loopback address reading needs no token; but a wrong one is told, so that nobody believes to be checked.
    const wrong = tokens.length > 0 && shown !== '' && !authenticated
    if (wrong || (!authenticated && (access === 'token' || !isLoopback(host)))) {
      const how = 'send `Authorization: Bearer TOKEN`, or any user name with the token as its password'
      throw new Refusal(401, `${wrong ? 'this is not the token of this server' : 'this address needs the token'}: ${how}`, {
        'www-authenticate': 'Basic realm="tokenwatch", charset="UTF-8"',
      })
    }
    return authenticated
  }
}

/** A page of another site may resolve its own name to 127.0.0.1 and so read our answers: it cannot forge the Host header. */
function checkHost(request: IncomingMessage, names: ReadonlySet<string>): void {
  const name = (request.headers.host ?? '').toLowerCase().replace(/:\d+$/, '')
  if (!names.has(name)) throw new Refusal(403, `the host name "${name}" is not one of this server; use localhost or 127.0.0.1, or set console.public_url`)
}

/** Browsers name the page that sends: only our own may. Programs send no Origin. */
function checkOrigin(request: IncomingMessage, linkable: boolean): void {
  const { origin, host } = request.headers
  if (origin !== undefined) {
    const from = URL.parse(origin)
    if (!from || from.host.toLowerCase() !== (host ?? '').toLowerCase()) throw new Refusal(403, 'requests from other web pages are refused')
  }
  const site = request.headers['sec-fetch-site']
  if ((site === 'cross-site' || site === 'same-site') && !(linkable && request.method === 'GET')) throw new Refusal(403, 'requests from other web pages are refused')
}

/** Bearer for programs, Basic for browsers and ClickHouse clients, X-ClickHouse-Key for Grafana. */
function presentedToken({ headers }: IncomingMessage): string {
  const [scheme = '', value = ''] = (headers.authorization ?? '').split(' ', 2)
  if (scheme.toLowerCase() === 'bearer') return value
  if (scheme.toLowerCase() === 'basic') {
    const text = Buffer.from(value, 'base64').toString('utf8')
    return text.slice(text.indexOf(':') + 1)
  }
  const key = headers['x-clickhouse-key']
  return typeof key === 'string' ? key : ''
}

/** Both sides hashed: equal length, so that the comparison takes the same time for every guess. */
const same = (a: string, b: string): boolean => timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest())

export const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)

/** "127.0.0.1:8787", "[::1]:8787", "localhost:0". Throws UsageError. */
export function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || port > 65_535 || (match?.[1] !== undefined && !isIPv6(host)))
    throw new UsageError(`console.listen: "${text}" is not host:port, such as 127.0.0.1:8787 or [::1]:8787`)
  return { host, port }
}
