import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { configSchema } from '../config.ts'
import { systemClock } from '../runtime/clock.ts'
import { createHttpServer } from '../runtime/http.ts'
import { silentLogger } from '../runtime/log.ts'
import { receiverChecks } from './check-receivers.ts'
import { contextOf } from './context.ts'

const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-check-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
const secret = (name: string, text: string): { file: string } => {
  const file = path.join(directory, name)
  writeFileSync(file, text)
  return { file }
}
const good = secret('good', 'a-token-for-tests-only\n')
const FREE = '127.0.0.1:0'

const checks = (receivers: unknown[], config: Record<string, unknown> = {}) =>
  receiverChecks(contextOf(configSchema.parse({ receivers, console: { listen: FREE }, ...config }), null, { dataDir: directory }))
const one = (token: unknown) => ({ id: 'cloudwatch', kind: 'firehose', token })
const said = async (receivers: unknown[], config?: Record<string, unknown>) =>
  (await checks(receivers, config)).map(({ part, ok, detail }) => `${ok ? 'ok' : 'FAIL'} ${part}: ${detail}`)

/** Something else that listens, and how to reach it. */
async function withServer<T>(work: (listen: string) => Promise<T>): Promise<T> {
  const server = createServer((socket) => socket.end())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await work(`127.0.0.1:${(server.address() as AddressInfo).port}`)
  } finally {
    server.close()
  }
}

describe('check on receivers', () => {
  it('says nothing where there are none', async () => {
    expect(await checks([])).toEqual([])
  })

  it('says where they are', async () => {
    expect(await said([one(good), { ...one(good), id: 'shippers', kind: 'json-lines', path: '/receive/own' }])).toEqual([
      'ok receiver cloudwatch (firehose): has its token and takes POST /receive/cloudwatch',
      'ok receiver shippers (json-lines): has its token and takes POST /receive/own',
      `ok address of the receivers: console.listen ${FREE} is free (with the role console); metrics.listen is not set: a process without the role console cannot take pushes`,
    ])
  })

  it.each([
    [{ env: 'TW_NO_SUCH_VARIABLE' }, /environment variable TW_NO_SUCH_VARIABLE is not set/],
    [{ file: '/nowhere/token' }, /secret file \/nowhere\/token cannot be read/],
    [secret('empty', '\n'), /token of the receiver cloudwatch \(the file .*empty\) is empty: make one with `openssl rand -hex 32`/],
    [secret('short', 'fifteen-letters'), /fewer than 16 characters: make one/],
    [secret('lines', 'a-token-for-\ntests-only'), /no HTTP header carries: make one/],
  ])('names a token that cannot be used: %j', async (token, message) => {
    const found = await checks([one(token), { ...one(good), id: 'other' }])
    expect(found.map(({ ok }) => ok)).toEqual([false, true, true])
    expect(found[0]?.detail).toMatch(message)
    expect(found[0]?.detail).not.toContain('fifteen')
  })

  it('names an address that cannot be used, and what to do', async () => {
    await withServer(async (listen) => {
      expect((await said([one(good)], { console: { listen } })).at(-1)).toMatch(
        /^FAIL address of the receivers: nothing can be pushed: cannot listen on .*: another process listens there already: stop it, or choose another console\.listen; metrics\.listen is not set/,
      )
      expect((await said([one(good)], { console: { listen }, metrics: { listen } })).at(-1)).toMatch(/FAIL.*another console\.listen; .*another metrics\.listen$/)
      // A collector of its own needs no console.
      expect((await said([one(good)], { console: { listen }, metrics: { listen: FREE } })).at(-1)).toMatch(/^ok .*metrics\.listen 127\.0\.0\.1:0 is free/)
    })
    expect((await said([one(good)], { console: { listen: '0.0.0.0:8787' } })).at(-1)).toMatch(/^FAIL .*needs console\.token/)
  })

  it('is content with an address that a running Tokenwatch holds', async () => {
    const server = await createHttpServer({ listen: FREE, clock: systemClock, log: silentLogger })
    const listen = server.url.slice('http://'.length)
    expect((await said([one(good)], { console: { listen } })).at(-1)).toContain(`ok address of the receivers: console.listen ${listen} is held by a running Tokenwatch`)
    await server.close()
  })
})
