import { Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSink, sinkConfig, sinkSpecs } from '../../alert/sinks/index.ts'
import { createTerminalSink } from '../../alert/sinks/terminal/index.ts'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import { startSmtp } from '../support/smtp.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'
import { sinkContract, type SinkWorld } from './sink.ts'

const context = { clock: systemClock, log: silentLogger, console_url: null }
const SECRET = `whsec_${Buffer.alloc(32, 3).toString('base64')}`
const PASSWORD = 'smtp-canary-password'

beforeAll(() => {
  process.env['TEST_SINK_SECRET'] = SECRET
  process.env['TEST_SINK_PASSWORD'] = PASSWORD
})
afterAll(() => {
  delete process.env['TEST_SINK_SECRET']
  delete process.env['TEST_SINK_PASSWORD']
})

const worlds: Record<keyof typeof sinkSpecs, () => Promise<SinkWorld>> = {
  terminal: async () => {
    const lines: string[] = []
    const stream = new Writable({
      write: (part: Buffer, _encoding, done) => {
        lines.push(part.toString())
        done()
      },
    })
    return { sink: createTerminalSink(stream, false), seen: async () => lines, ids: async () => [], secrets: [], close: async () => {} }
  },
  email: async () => {
    const smtp = await startSmtp({ login: { user: 'tokenwatch', password: PASSWORD } })
    const sink = createSink(
      sinkConfig.parse({
        kind: 'email',
        host: '127.0.0.1',
        port: smtp.port,
        tls: 'none',
        from: { name: 'Token "Watch"', address: 'tw@example.com' },
        to: ['soc@example.com'],
        username: 'tokenwatch',
        password: { env: 'TEST_SINK_PASSWORD' },
      }),
      context,
    )
    return {
      sink,
      seen: async () => smtp.mails.flatMap(({ mail }) => [`${mail.subject}\n${mail.text}`, ...mail.headerLines.map(({ line }) => line.replace(/\r\n[ \t]/g, ' '))]),
      html: async () => smtp.mails.map(({ mail }) => String(mail.html)),
      ids: async () => smtp.mails.map(({ mail }) => mail.messageId ?? ''),
      failTransiently: () => (smtp.refuse = 451),
      failForEver: () => (smtp.refuse = 554),
      swallow: () => (smtp.refuse = 'stall'),
      heal: () => (smtp.refuse = null),
      secrets: [PASSWORD],
      close: () => smtp.close(),
    }
  },
  webhook: async () => {
    const receiver = await startWebhookReceiver({ secret: SECRET })
    const url = `${receiver.url}/path-that-is-a-secret`
    const sink = createSink(sinkConfig.parse({ kind: 'webhook', url, secret: { env: 'TEST_SINK_SECRET' }, internal: { cidrs: ['127.0.0.0/8'], http: true } }), context)
    return {
      sink,
      seen: async () => receiver.received.map(({ body }) => JSON.stringify(JSON.parse(body), null, 1)),
      ids: async () => {
        expect(receiver.received.every(({ verified }) => verified)).toBe(true)
        return receiver.received.map(({ id }) => id)
      },
      failTransiently: () => (receiver.otherwise = { status: 500, body: 'down' }),
      failWithRetryAfter: () => (receiver.otherwise = { status: 429, headers: { 'retry-after': '7' } }),
      failForEver: () => (receiver.otherwise = { status: 403 }),
      goAway: () => (receiver.otherwise = { status: 410 }),
      swallow: () => (receiver.otherwise = 'hang'),
      heal: () => (receiver.otherwise = { status: 200 }),
      secrets: [SECRET.slice(6), 'path-that-is-a-secret'],
      close: () => receiver.close(),
    }
  },
}

for (const [id, spec] of Object.entries(sinkSpecs)) {
  describe(`sink ${id}`, () => {
    sinkContract(worlds[id as keyof typeof sinkSpecs])
    it('has an example that fits its config, under its own id', () => {
      expect(sinkConfig.parse(spec.example)).toMatchObject({ kind: id })
      expect(spec.id).toBe(id)
    })
  })
}
