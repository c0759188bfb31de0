import { request as httpRequest } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from './clock.ts'
import { PermanentError, TransientError, UsageError } from './errors.ts'
import { createHttpServer, type HttpServer } from './http.ts'
import { silentLogger } from './log.ts'

const servers: HttpServer[] = []
async function serve(options: Partial<Parameters<typeof createHttpServer>[0]> = {}): Promise<HttpServer> {
  const server = await createHttpServer({ listen: '127.0.0.1:0', log: silentLogger, clock: systemClock, ...options })
  servers.push(server)
  server.route('GET', '/', () => ({ body: 'page' }), { linkable: true })
  server.route('GET', '/api/thing/:id', ({ params, authenticated }) => ({ json: { ...params, authenticated } }))
  server.route('POST', '/api/echo', async ({ body }) => ({ json: { bytes: (await body()).length } }), { max_body_bytes: 100 })
  server.route('POST', '/api/guarded', () => ({ json: { done: true } }), { access: 'token' })
  return server
}

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()))
})

interface Answer {
  status: number
  text: string
  headers: Record<string, string | string[] | undefined>
}

/** fetch() refuses to forge Host, Origin and Sec-Fetch-Site, so plain node:http. */
const ask = (server: HttpServer, path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const sent = httpRequest(`${server.url}${path}`, { method: body === undefined ? 'GET' : 'POST', headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }))
    })
    sent.on('error', reject).end(body)
  })

describe('who may ask', () => {
  it.each(['evil.example', '127.0.0.1.evil.example:80', '10.0.0.1'])('refuses the Host %j: a rebound name', async (host) => {
    const answer = await ask(await serve(), '/api/thing/1', { host })
    expect(answer.status).toBe(403)
  })

  it.each(['localhost', 'LOCALHOST:99', '127.0.0.1:1', '[::1]:8787'])('takes the Host %j', async (host) => {
    expect((await ask(await serve(), '/api/thing/1', { host })).status).toBe(200)
  })

  it('takes a configured public name', async () => {
    expect((await ask(await serve({ hosts: ['watch.example.com'] }), '/api/thing/1', { host: 'watch.example.com' })).status).toBe(200)
  })

  it.each(['https://evil.example', 'null', 'http://localhost:3000'])('refuses the Origin %j', async (origin) => {
    expect((await ask(await serve(), '/api/echo', { origin }, '{}')).status).toBe(403)
  })

  it('takes its own Origin', async () => {
    const server = await serve()
    expect((await ask(server, '/api/echo', { origin: server.url }, '{}')).status).toBe(200)
  })

  it('lets other sites link to the page but read nothing', async () => {
    const server = await serve()
    expect((await ask(server, '/', { 'sec-fetch-site': 'cross-site' })).status).toBe(200)
    expect((await ask(server, '/api/thing/1', { 'sec-fetch-site': 'cross-site' })).status).toBe(403)
  })

  it('needs no token for reading on a loopback address, but refuses a wrong one', async () => {
    const server = await serve({ own_token: 'right-token' })
    expect(JSON.parse((await ask(server, '/api/thing/1')).text)).toEqual({ id: '1', authenticated: false })
    expect(JSON.parse((await ask(server, '/api/thing/1', { authorization: 'Bearer right-token' })).text)).toEqual({ id: '1', authenticated: true })
    expect((await ask(server, '/api/thing/1', { authorization: 'Bearer wrong-token' })).status).toBe(401)
    expect((await ask(server, '/api/thing/1', { authorization: `Basic ${btoa('anyone:right-token')}` })).status).toBe(200)
    expect((await ask(server, '/api/thing/1', { authorization: `Basic ${btoa('default:')}` })).status).toBe(200)
    expect((await ask(server, '/api/thing/1', { 'x-clickhouse-key': 'right-token' })).status).toBe(200)
  })

  it('keeps guarded routes behind the token, also here', async () => {
    const server = await serve({ tokens: ['right-token'] })
    const refused = await ask(server, '/api/guarded', {}, '')
    expect(refused.status).toBe(401)
    expect(refused.text).toContain('Authorization: Bearer')
    expect((await ask(server, '/api/guarded', { authorization: 'Bearer right-token' }, '')).status).toBe(200)
  })

  it('will not listen for other machines without a token of the config', async () => {
    await expect(serve({ listen: '0.0.0.0:0' })).rejects.toThrow(/console\.token/)
    await expect(serve({ listen: '0.0.0.0:0', own_token: 'only for this run' })).rejects.toThrow(UsageError)
  })

  it('asks everybody for the token when other machines can reach it, but for the probes', async () => {
    const server = await serve({ listen: '0.0.0.0:0', tokens: ['right-token'] })
    expect((await ask(server, '/')).status).toBe(401)
    expect((await ask(server, '/metrics')).status).toBe(401)
    expect((await ask(server, '/', { authorization: `Basic ${btoa('me:right-token')}` })).status).toBe(200)
    expect((await ask(server, '/healthz', { host: '10.1.2.3:8787' })).status).toBe(200)
    expect((await ask(server, '/readyz', { host: '10.1.2.3:8787' })).status).toBe(200)
  })
})

describe('answers', () => {
  it('carry the headers that keep foreign content out', async () => {
    const { headers } = await ask(await serve(), '/')
    expect(headers['content-security-policy']).toContain("default-src 'self'")
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'")
    expect(headers['x-content-type-options']).toBe('nosniff')
    expect(headers['referrer-policy']).toBe('no-referrer')
    expect(headers['access-control-allow-origin']).toBeUndefined()
  })

  it('refuse a body above the cap, announced or not', async () => {
    const server = await serve()
    expect((await ask(server, '/api/echo', {}, 'x'.repeat(101))).status).toBe(413)
    expect((await ask(server, '/api/echo', { 'transfer-encoding': 'chunked' }, 'x'.repeat(101))).status).toBe(413)
    expect((await ask(server, '/api/echo', {}, 'x'.repeat(100))).status).toBe(200)
  })

  it('tell unknown paths from wrong methods', async () => {
    const server = await serve()
    expect((await ask(server, '/nothing')).status).toBe(404)
    expect((await ask(server, '/api/echo')).status).toBe(405)
    expect((await ask(server, '/api/thing/%zz')).status).toBe(400)
  })

  it('name what is wrong with the world, and hide the unexpected', async () => {
    const server = await serve()
    server.route('GET', '/away', () => Promise.reject(new TransientError('the store is away')))
    server.route('GET', '/bad', () => Promise.reject(new PermanentError('no such column')))
    server.route('GET', '/bug', () => Promise.reject(new Error('secret detail')))
    expect(await ask(server, '/away')).toMatchObject({ status: 503, text: expect.stringContaining('the store is away') as string })
    expect(await ask(server, '/bad')).toMatchObject({ status: 422, text: expect.stringContaining('no such column') as string })
    const bug = await ask(server, '/bug')
    expect(bug.status).toBe(500)
    expect(bug.text).not.toContain('secret')
  })

  it('break off, rather than end, when a stream fails in the middle', async () => {
    const server = await serve()
    server.route('GET', '/stream', () => ({
      body: (async function* () {
        yield Buffer.from('half')
        await systemClock.sleep(20)
        throw new Error('gone')
      })(),
    }))
    await expect(ask(server, '/stream')).rejects.toThrow()
  })
})

describe('health', () => {
  it('is ready when every check is', async () => {
    const server = await serve()
    let store = false
    server.readiness('store', () => (store ? undefined : Promise.reject(new Error('starting'))))
    const before = await ask(server, '/readyz')
    expect([before.status, JSON.parse(before.text)]).toEqual([503, { ready: false, checks: { store: false } }])
    store = true
    expect((await ask(server, '/readyz')).status).toBe(200)
    expect((await ask(server, '/healthz')).status).toBe(200)
  })

  it('names the port that is taken, and what to do', async () => {
    const server = await serve()
    await expect(serve({ listen: server.url.slice('http://'.length) })).rejects.toThrow(/another process listens there already.*console\.listen/)
    await expect(serve({ listen: 'nonsense' })).rejects.toThrow(/host:port/)
  })

  it('lets a running request end before it closes', async () => {
    const server = await serve()
    server.route('GET', '/slow', async () => {
      await systemClock.sleep(150)
      return { body: 'whole' }
    })
    const running = ask(server, '/slow')
    await systemClock.sleep(40)
    await server.close()
    expect((await running).text).toBe('whole')
  })
})
