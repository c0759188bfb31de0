import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createResponder, responderConfig, responderSpecs } from '../../alert/responders/index.ts'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import { command } from '../../schemas/commands.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'
import { responderContract, type ResponderWorld } from './responder.ts'

const SECRET = `whsec_${Buffer.alloc(32, 5).toString('base64')}`

beforeAll(() => (process.env['TEST_RESPONDER_SECRET'] = SECRET))
afterAll(() => delete process.env['TEST_RESPONDER_SECRET'])

const worlds: Record<keyof typeof responderSpecs, () => Promise<ResponderWorld>> = {
  webhook: async () => {
    const receiver = await startWebhookReceiver({ secret: SECRET })
    const config = responderConfig.parse({
      kind: 'webhook',
      url: `${receiver.url}/secret-path`,
      secret: { env: 'TEST_RESPONDER_SECRET' },
      internal: { cidrs: ['127.0.0.0/8'], http: true },
    })
    const taken = (undo: boolean): string[] => {
      expect(receiver.received.every(({ verified }) => verified)).toBe(true)
      return receiver.received.filter(({ body }) => ((JSON.parse(body) as { undo?: boolean }).undo === true) === undo).map(({ id }) => id)
    }
    return {
      responder: createResponder(config, { clock: systemClock, log: silentLogger, console_url: null }),
      target: { kind: 'api-key', id: 'fp_1', provider: 'openai' },
      acted: async () => {
        for (const { body } of receiver.received) if (!body.includes('"undo":true')) expect(command.strict().parse(JSON.parse(body))).toBeTruthy()
        return taken(false)
      },
      undone: async () => taken(true),
      refuse: () => (receiver.otherwise = { status: 403 }),
      swallow: () => (receiver.otherwise = 'hang'),
      secrets: [SECRET.slice(6), 'secret-path'],
      close: () => receiver.close(),
    }
  },
}

for (const [id, spec] of Object.entries(responderSpecs)) {
  describe(`responder ${id}`, () => {
    responderContract(worlds[id as keyof typeof responderSpecs])
    it('has an example that fits its config, under its own id', () => {
      expect(responderConfig.parse(spec.example)).toMatchObject({ kind: id })
      expect(spec.id).toBe(id)
    })
  })
}
