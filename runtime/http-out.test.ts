import { readFileSync } from 'node:fs'
import { createServer as createTlsServer } from 'node:https'
import type { lookup as dnsLookup } from 'node:dns'
import { createServer, type AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { testCertFile, testKeyFile } from '../test/support/smtp.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../test/support/webhook-receiver.ts'
import { systemClock } from './clock.ts'
import { createHttpOut, HttpOutError, type HttpOutOptions } from './http-out.ts'

const never = new AbortController().signal
const message = { headers: { 'content-type': 'text/plain' }, body: 'hello', signal: never }

/** A resolver that gives the answers of the list, one list for each question, the last one for ever. */
const resolving = (...answers: string[][]): { lookup: typeof dnsLookup; asked: () => number } => {
  let asked = 0
  const lookup = ((_host: string, _options: unknown, done: (error: Error | null, addresses: { address: string; family: number }[]) => void) => {
    const addresses = answers[Math.min(asked, answers.length - 1)] ?? []
    asked += 1
    done(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }) as unknown as typeof dnsLookup
  return { lookup, asked: () => asked }
}

const failure = async (url: string, options: HttpOutOptions = {}): Promise<HttpOutError> => {
  const out = createHttpOut({ timeout_ms: 2000, ...options })
  try {
    const answer = await out.post(url, message)
    throw new Error(`${url} was let through with ${answer.status}`)
  } catch (error) {
    if (error instanceof HttpOutError) return error
    throw error
  } finally {
    await out.close()
  }
}

let receiver: WebhookReceiver
let connections = 0
let bait: ReturnType<typeof createServer>
let baitPort = 0
beforeAll(async () => {
  receiver = await startWebhookReceiver()
  bait = createServer((socket) => {
    connections += 1
    socket.destroy()
  })
  await new Promise<void>((resolve) => bait.listen(0, '127.0.0.1', resolve))
  baitPort = (bait.address() as AddressInfo).port
})
afterAll(async () => {
  await receiver.close()
  bait.close()
})

describe('addresses in disguise', () => {
  const hosts = [
    '127.0.0.1',
    '127.1',
    '127.0.1',
    '0',
    '0.0.0.0',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0x7f.0.0.1',
    '017700000001',
    '0177.0.0.1',
    '0177.1',
    '127.0.0.1.',
    '127.000.000.001',
    '１２７.0.0.1',
    '127。0。0。1',
    '①②⑦.⓪.⓪.①',
    '%31%32%37.0.0.1',
    '127.0.0.1%2e',
    '10.0.0.1',
    '10.255.255.255',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.0.1',
    '100.64.0.1',
    '169.254.169.254',
    '0xa9fea9fe',
    '2852039166',
    '0251.0376.0251.0376',
    '169.254.43518',
    '168.63.129.16',
    '192.0.0.192',
    '192.0.2.1',
    '198.18.0.1',
    '198.51.100.1',
    '203.0.113.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '100.100.100.200',
    '[::1]',
    '[::]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[0:0:0:0:0:ffff:7f00:1]',
    '[::127.0.0.1]',
    '[fe80::1]',
    '[fc00::1]',
    '[fd00:ec2::254]',
    '[fec0::1]',
    '[ff02::1]',
    '[64:ff9b::7f00:1]',
    '[64:ff9b::127.0.0.1]',
    '[64:ff9b:1::7f00:1]',
    '[2002:7f00:1::]',
    '[2001::1]',
    '[2001:db8::1]',
    '[::ffff:169.254.169.254]',
    '[::ffff:a9fe:a9fe]',
    '[::ffff:10.0.0.1]',
    '8.8.8.8',
    '[2606:4700::1111]',
  ]
  it.each(hosts)('%s is refused, whatever port', async (host) => {
    for (const port of ['', ':8443', `:${baitPort}`]) {
      const error = await failure(`https://${host}${port}/`)
      expect(error).toMatchObject({ kind: 'blocked', sent: false })
    }
    expect(connections).toBe(0)
  })
})

describe('names that lead inside', () => {
  it.each([
    '127.0.0.1',
    '10.1.2.3',
    '169.254.169.254',
    '::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '64:ff9b::a9fe:a9fe',
    'fd12::1',
    '0.0.0.0',
    '2002:7f00:1::1',
    '::127.0.0.1',
    '::ffff:0:127.0.0.1',
    '100::1',
    '2001:10::1',
    '2001:20::1',
    '3fff::1',
    '5f00::1',
  ])('%s', async (address) => {
    expect(await failure('https://hooks.test/', resolving([address]))).toMatchObject({ kind: 'blocked', sent: false })
    expect(await failure('https://hooks.test/', resolving(['93.184.216.34', address]))).toMatchObject({ kind: 'blocked', sent: false })
  })

  it('a name that changes its address after the check is not connected to', async () => {
    const { lookup, asked } = resolving(['93.184.216.34'], ['127.0.0.1'])
    const out = createHttpOut({ lookup, timeout_ms: 2000 })
    await out.check('https://rebinding.test:8443/')
    await expect(out.post('https://rebinding.test:8443/', message)).rejects.toMatchObject({ kind: 'blocked' })
    expect(asked()).toBe(2)
    await out.close()
    expect(connections).toBe(0)
  })

  it('an allowed range does not open metadata', async () => {
    const allow = [{ host: 'hooks.test', cidrs: ['0.0.0.0/0', '::/0'] }]
    for (const address of [
      '169.254.169.254',
      '168.63.129.16',
      'fd00:ec2::254',
      '::ffff:169.254.169.254',
      '::169.254.169.254',
      '::ffff:0:169.254.169.254',
      '64:ff9b::a9fe:a9fe',
      '2002:a9fe:a9fe::1',
    ]) {
      expect(await failure('https://hooks.test/', { allow, ...resolving([address]) })).toMatchObject({ kind: 'blocked' })
    }
  })

  it('an allowance is for one exact host', async () => {
    const allow = [{ host: 'hooks.test', cidrs: ['127.0.0.0/8'], http: true }]
    for (const host of ['hooks.test.evil.test', 'evilhooks.test', 'x.hooks.test'])
      expect(await failure(`https://${host}/`, { allow, ...resolving(['127.0.0.1']) })).toMatchObject({ kind: 'blocked' })
    expect(await failure('https://hooks.test/', { allow, ...resolving(['10.0.0.1']) })).toMatchObject({ kind: 'blocked' })
  })
})

describe('URLs', () => {
  it.each([
    'http://example.com/',
    'ftp://example.com/',
    'file:///etc/passwd',
    'https://user:secret@example.com/',
    'https://example.com:22/',
    'https://example.com:6379/',
    'not a url',
    'https://',
    'gopher://example.com/',
  ])('%s is refused', async (url) => {
    const error = await failure(url, resolving(['93.184.216.34']))
    expect(error.kind).toBe('blocked')
    expect(error.message).not.toContain('secret')
  })
})

describe('requests', () => {
  const allow = [{ host: '127.0.0.1', cidrs: ['127.0.0.0/8'], http: true }]
  const post = async (path: string, options: HttpOutOptions = {}, signal = never) => {
    const out = createHttpOut({ allow, timeout_ms: 500, ...options })
    try {
      return await out.post(`${receiver.url}${path}`, { ...message, signal })
    } finally {
      await out.close()
    }
  }

  it('arrive at an allowed host, even with a dot at its end', async () => {
    receiver.otherwise = { status: 200, body: 'thanks' }
    expect(await post('')).toMatchObject({ status: 200, body: 'thanks' })
    const { port } = new URL(receiver.url)
    const named = createHttpOut({ allow: [{ host: 'hooks.test', cidrs: ['127.0.0.0/8'], http: true }], ...resolving(['127.0.0.1']) })
    expect((await named.post(`http://hooks.test.:${port}/`, message)).status).toBe(200)
    await named.close()
  })

  it('never follow a redirect', async () => {
    receiver.otherwise = { status: 307, headers: { location: `http://127.0.0.1:${baitPort}/` } }
    expect((await post('')).status).toBe(307)
    expect(connections).toBe(0)
  })

  it('read no more of an answer than they are told to', async () => {
    receiver.otherwise = { status: 200, body: 'x'.repeat(1_000_000) }
    expect((await post('', { max_body_bytes: 1000 })).body).toHaveLength(1000)
  })

  it('end at the deadline, or when told to, and say that the message may have arrived', async () => {
    receiver.otherwise = 'hang'
    await expect(post('/secret-path')).rejects.toMatchObject({ kind: 'timeout', sent: true, message: 'no answer within 500 ms' })
    await expect(post('', {}, AbortSignal.timeout(100))).rejects.toMatchObject({ kind: 'aborted', sent: true })
    receiver.otherwise = 'close'
    await expect(post('/secret-path')).rejects.toMatchObject({ kind: 'unreachable', sent: true, message: expect.not.stringContaining('secret-path') as unknown })
  })

  it('know when nothing was sent', async () => {
    const gone = createServer()
    await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve))
    const { port } = gone.address() as AddressInfo
    await new Promise<void>((resolve) => gone.close(() => resolve()))
    expect(await failure(`http://127.0.0.1:${port}/`, { allow })).toMatchObject({ kind: 'unreachable', sent: false })
  })

  it('check certificates', async () => {
    const server = createTlsServer({ cert: readFileSync(testCertFile), key: readFileSync(testKeyFile) }, (_request, response) => response.end('ok'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const options = { allow: [{ host: 'hooks.test', cidrs: ['127.0.0.0/8'] }], ...resolving(['127.0.0.1']) }
    expect(await failure(`https://hooks.test:${port}/`, options)).toMatchObject({ kind: 'unreachable', sent: false })
    const out = createHttpOut({ ...options, ca: readFileSync(testCertFile, 'utf8') })
    expect((await out.post(`https://hooks.test:${port}/`, message)).status).toBe(200)
    await out.close()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  })
})

it('leaves no timer behind', async () => {
  const sleeping: AbortSignal[] = []
  const out = createHttpOut({
    allow: [{ host: '127.0.0.1', cidrs: ['127.0.0.0/8'], http: true }],
    clock: { now: () => systemClock.now(), sleep: (ms, signal) => (signal === undefined ? Promise.resolve() : (sleeping.push(signal), systemClock.sleep(ms, signal))) },
  })
  receiver.otherwise = { status: 200 }
  await out.post(receiver.url, message)
  await out.close()
  expect(sleeping.every((signal) => signal.aborted)).toBe(true)
})
