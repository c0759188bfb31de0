/**
 * HTTP to addresses that people configure, guarded against server-side request forgery. A lookup hook alone is not enough
 * (undici never calls it for IP literals), so: the URL is parsed once, literals are checked by value, names are resolved and
 * every address checked, the connected address is checked again, redirects are failures, no environment proxy is used.
 * Internal addresses only where the operator allowed exactly this host with a range; cloud metadata never.
 */
import { lookup as dnsLookup, type LookupAddress } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { Agent, buildConnector, request } from 'undici'
import { type Clock, systemClock } from './clock.ts'
import { isAbort, messageOf } from './errors.ts'

/** An exception from the rule "public https only", for one exact host. */
export interface AllowedHost {
  host: string
  /** Ranges its addresses may lie in, for example 10.2.0.0/16. */
  cidrs: readonly string[]
  /** Permit plain http to it. */
  http?: boolean
}

export interface HttpOutOptions {
  clock?: Clock
  allow?: readonly AllowedHost[]
  /** Ports for hosts that are not in `allow`. Default 443 and 8443. */
  ports?: readonly number[]
  /** Total time for one request, from DNS to the last byte. Default 15 s. */
  timeout_ms?: number
  /** Most bytes of a response that are read. Default 64 KiB. */
  max_body_bytes?: number
  /** For tests: the resolver. */
  lookup?: typeof dnsLookup
  /** For tests: certificate authorities beside the system's. */
  ca?: string
}

export interface HttpAnswer {
  status: number
  /** Lower-case names; of a repeated header the first value. */
  headers: Readonly<Record<string, string>>
  /** At most max_body_bytes. */
  body: string
}

/** `sent` false: nothing of the request can have reached the other side. Messages never hold the URL: its path may be a secret. */
export class HttpOutError extends Error {
  readonly kind: 'blocked' | 'unreachable' | 'timeout' | 'aborted'
  readonly sent: boolean
  constructor(kind: HttpOutError['kind'], message: string, sent: boolean) {
    super(message)
    this.name = 'HttpOutError'
    this.kind = kind
    this.sent = sent
  }
}

export interface HttpOut {
  /** Any status is an answer, 3xx too (redirects are never followed). Throws HttpOutError. */
  post(url: string, message: { headers: Record<string, string>; body: string; signal: AbortSignal }): Promise<HttpAnswer>
  /** Resolves the host and checks the address; sends nothing. Throws HttpOutError. */
  check(url: string): Promise<void>
  close(): Promise<void>
}

export function createHttpOut(options: HttpOutOptions = {}): HttpOut {
  const { clock = systemClock, allow = [], ports = [443, 8443], timeout_ms = 15_000, max_body_bytes = 65_536, lookup = dnsLookup } = options
  const ruleFor = (host: string): Rule => createRule(allow.find((entry) => normalHost(entry.host) === host))
  const agent = new Agent({ connect: guardedConnector(ruleFor, lookup, timeout_ms, options.ca), maxRedirections: 0, bodyTimeout: 0, headersTimeout: 0 } as Agent.Options)
  return {
    post: async (url, { headers, body, signal }) => {
      const target = checkedUrl(url, ruleFor, ports)
      const deadline = new AbortController()
      const timer = new AbortController()
      void clock.sleep(timeout_ms, AbortSignal.any([timer.signal, signal])).then(() => deadline.abort())
      try {
        const answer = await request(target, { method: 'POST', headers, body, dispatcher: agent, signal: deadline.signal })
        return { status: answer.statusCode, headers: firstValues(answer.headers), body: await readCapped(answer.body, max_body_bytes) }
      } catch (error) {
        throw explain(error, signal.aborted, deadline.signal.aborted, timeout_ms)
      } finally {
        timer.abort()
      }
    },
    check: async (url) => {
      const target = checkedUrl(url, ruleFor, ports)
      if (isIP(bare(target.hostname)) === 0) await resolveChecked(target.hostname, ruleFor(normalHost(target.hostname)), lookup)
    },
    close: () => agent.destroy(),
  }
}

interface Rule {
  allowed: AllowedHost | undefined
  permits(address: string): boolean
}

function createRule(allowed: AllowedHost | undefined): Rule {
  const ranges = allowed === undefined ? undefined : blockList(allowed.cidrs)
  return {
    allowed,
    permits: (address) => {
      if (contains(NEVER, address)) return false
      if (ranges !== undefined && contains(ranges, address)) return true
      return !contains(DENIED, address)
    },
  }
}

function checkedUrl(text: string, ruleFor: (host: string) => Rule, ports: readonly number[]): URL {
  const blocked = (why: string): HttpOutError => new HttpOutError('blocked', why, false)
  if (!URL.canParse(text)) throw blocked('this is not a URL')
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') throw blocked('a URL with a user name or password in it is refused')
  const host = normalHost(url.hostname)
  const rule = ruleFor(host)
  const http = url.protocol === 'http:' && rule.allowed?.http === true
  if (url.protocol !== 'https:' && !http) throw blocked('only https is allowed (plain http for a host that the config names as internal)')
  const port = url.port === '' ? (http ? 80 : 443) : Number(url.port)
  if (rule.allowed === undefined && !ports.includes(port)) throw blocked(`port ${port} is not allowed for hosts outside; allowed: ${ports.join(', ')}`)
  const address = bare(host)
  if (isIP(address) !== 0) {
    if (rule.allowed === undefined) throw blocked('an IP address instead of a host name is refused')
    if (!rule.permits(address)) throw blocked('this address is outside what the config allows for it')
  }
  url.hostname = host
  return url
}

/** One trailing dot is the same host to DNS and another one to a comparison. */
const normalHost = (host: string): string => host.toLowerCase().replace(/\.$/, '')
const bare = (host: string): string => host.replace(/^\[|\]$/g, '')

function guardedConnector(ruleFor: (host: string) => Rule, lookup: typeof dnsLookup, timeout: number, ca: string | undefined): buildConnector.connector {
  return (target, callback) => {
    const rule = ruleFor(normalHost(target.hostname))
    const hook: LookupFunction = (hostname, _options, done) => {
      resolveChecked(hostname, rule, lookup).then(
        (addresses) => done(null, addresses),
        (error: Error) => done(error, []),
      )
    }
    const connect = buildConnector({ lookup: hook, timeout, maxCachedSessions: 0, ...(ca === undefined ? {} : { ca }) })
    connect(target, (...result) => {
      const [error, socket] = result
      if (error !== null) return callback(error, null)
      const address = socket.remoteAddress
      if (address !== undefined && rule.permits(address)) return callback(null, socket)
      socket.destroy()
      callback(new HttpOutError('blocked', 'the host led to an internal address', false), null)
    })
  }
}

/** All addresses of a name; rejects if one of them is denied, for the next resolution may give that one. */
const resolveChecked = (hostname: string, rule: Rule, lookup: typeof dnsLookup): Promise<LookupAddress[]> =>
  new Promise((resolve, reject) => {
    lookup(hostname, { all: true, verbatim: true }, (error, addresses) => {
      if (error !== null) return reject(new HttpOutError('unreachable', 'the host name does not resolve', false))
      if (addresses.length === 0) return reject(new HttpOutError('unreachable', 'the host name has no address', false))
      if (addresses.some(({ address }) => !rule.permits(address))) return reject(new HttpOutError('blocked', 'the host name leads to an internal address', false))
      resolve(addresses)
    })
  })

async function readCapped(body: AsyncIterable<Buffer> & { destroy(): unknown }, limit: number): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of body) {
    parts.push(part.subarray(0, Math.max(0, limit - size)))
    size += part.length
    if (size >= limit) break // leaving the loop destroys the stream
  }
  return Buffer.concat(parts).toString('utf8')
}

const firstValues = (headers: Record<string, string | string[] | undefined>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), Array.isArray(value) ? (value[0] ?? '') : (value ?? '')]))

/** Failures of these codes happen before a byte of the request is written. */
const NOT_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT', 'CERT_HAS_EXPIRED', 'DEPTH_ZERO_SELF_SIGNED_CERT'])

function explain(error: unknown, aborted: boolean, late: boolean, timeout_ms: number): HttpOutError {
  if (error instanceof HttpOutError) return error
  if (aborted) return new HttpOutError('aborted', 'stopped before an answer came', true)
  if (late || isAbort(error)) return new HttpOutError('timeout', `no answer within ${timeout_ms} ms`, true)
  const code = (error as { code?: unknown }).code
  const text = typeof code === 'string' ? code : messageOf(error).replace(/https?:\/\/\S+/gi, '(url)')
  const notSent = typeof code === 'string' && (NOT_SENT.has(code) || code.startsWith('ERR_TLS') || code.startsWith('UNABLE_TO'))
  return new HttpOutError('unreachable', `the connection failed: ${text}`, !notSent)
}

function contains(list: BlockList, address: string): boolean {
  const family = isIP(address)
  return family === 0 ? true : list.check(address, family === 6 ? 'ipv6' : 'ipv4')
}

function blockList(cidrs: readonly string[]): BlockList {
  const list = new BlockList()
  for (const cidr of cidrs) {
    const [network = '', bits] = cidr.split('/')
    const family = isIP(network) === 6 ? 'ipv6' : 'ipv4'
    list.addSubnet(network, bits === undefined ? (family === 'ipv6' ? 128 : 32) : Number(bits), family)
  }
  return list
}

/** Cloud metadata and the Azure host: they hand out credentials, no config opens them. */
const NEVER = blockList([
  '169.254.0.0/16',
  '168.63.129.16/32',
  'fd00:ec2::254/128',
  'fe80::/10',
  '100.100.100.200/32',
  '192.0.0.192/32',
  // 169.254.0.0/16 inside IPv6: compatible, translated, NAT64, 6to4. (Mapped addresses the list takes apart by itself.)
  '::a9fe:0/112',
  '::ffff:0:a9fe:0/112',
  '64:ff9b::a9fe:0/112',
  '2002:a9fe::/32',
])

/** Private, loopback, link-local, shared, documentation, multicast, reserved; NAT64, 6to4, compatible and translated addresses hide IPv4 in IPv6. */
const DENIED = blockList([
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '168.63.129.16/32',
  '::/96',
  '::ffff:0:0:0/96',
  '100::/64',
  'fc00::/7',
  'fe80::/10',
  'fec0::/10',
  'ff00::/8',
  '2001::/23',
  '2001:db8::/32',
  '3fff::/20',
  '5f00::/16',
  '2002::/16',
  '64:ff9b::/96',
  '64:ff9b:1::/48',
])
