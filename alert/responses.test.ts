/** Commands on the real embedded bus, from the decision to the receipt. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Bus } from '../bus/bus.ts'
import { type EmbeddedBus, openEmbeddedBus } from '../bus/embedded.ts'
import { systemClock } from '../runtime/clock.ts'
import { TransientError } from '../runtime/errors.ts'
import { nameUuid } from '../runtime/ids.ts'
import { silentLogger } from '../runtime/log.ts'
import type { Command } from '../schemas/commands.ts'
import type { Response } from '../schemas/responses.ts'
import { commandFor } from '../test/contract/responder.ts'
import { decideResponse, listResponses, showResponse, verifyResponses } from './actions.ts'
import { append, readLedger } from './chain.ts'
import { responsesConfig } from './config.ts'
import { commandId } from './proposals.ts'
import type { Responder, ResponderReceipt, Rung } from './responder.ts'
import { runResponders } from './responses.ts'

const never = new AbortController().signal
const target = { kind: 'api-key', id: 'fp_1', provider: 'openai' }
let directory: string
let bus: EmbeddedBus
let stops: (() => Promise<void>)[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tokenwatch-respond-'))
  bus = openEmbeddedBus({ directory }, { clock: systemClock, log: silentLogger })
  await bus.prepare(never)
  stops = []
})
afterEach(async () => {
  for (const stop of stops) await stop()
  await bus.close()
  await rm(directory, { recursive: true, force: true })
})

interface Scripted extends Responder {
  calls: string[]
}
function scripted(script: { receipt?: ResponderReceipt | 'throws' | 'hangs'; state?: 'contained' | 'active' | 'unknown'; level?: 1 | 2 | 3 } = {}): Scripted {
  const calls: string[] = []
  return {
    calls,
    plan: async (to): Promise<Rung[]> => [{ action: 'disable-key', level: script.level ?? 1, target: to, undo: 'automatic', summary: 'sets the key inactive' }],
    execute: async () => {
      calls.push('execute')
      if (script.receipt === 'hangs') return new Promise(() => {})
      if (script.receipt === 'throws') throw new Error('the provider hung up')
      return script.receipt ?? { outcome: 'executed', detail: 'inactive', undo_token: 'was-active' }
    },
    read_back: async () => {
      calls.push('read_back')
      return script.state ?? 'contained'
    },
    undo: async (_rung, receipt) => {
      calls.push(`undo ${receipt.undo_token}`)
      return { outcome: 'executed', detail: 'active again' }
    },
  }
}

function start(responders: Record<string, Responder>, config: unknown = {}, on: Partial<Bus> = {}, stop = new AbortController()) {
  const running = runResponders(
    {
      bus: { ...bus, ...on },
      config: responsesConfig.parse({ people: ['ana'], deadline: '30s', ...(config as object) }),
      responders: new Map(Object.entries(responders)),
      clock: systemClock,
      log: silentLogger,
    },
    stop.signal,
  )
  const end = async (): Promise<void> => {
    stop.abort()
    await running
  }
  stops.push(end)
}

/** Writes the decisions that a dispatcher would have written, and the command. */
async function issue(change: Partial<Command> = {}, ...more: Partial<Response>[]): Promise<Command> {
  const now = change.issued_at ?? systemClock.now()
  const { alert_id, action } = commandFor(target, change)
  const command = commandFor(target, { command_id: commandId(nameUuid(alert_id, action)), issued_at: now, expires_at: now + 60_000, ...change })
  const ledger = await readLedger(bus, never)
  const base = {
    response_id: nameUuid(command.alert_id, command.action),
    alert_id: command.alert_id,
    at: now,
    who: 'ana',
    why: null,
    action: command.action,
    target,
    dry_run: false,
    policy: 'approve' as const,
    expires_at: null,
    command_id: null,
    responder: null,
    blast_radius: null,
    detail: null,
  }
  const written = [append(ledger, { ...base, step: 'approved' }), append(ledger, { ...base, step: 'issued', command_id: command.command_id })]
  for (const step of more) written.push(append(ledger, { ...base, step: 'intent', command_id: command.command_id, ...step }))
  await bus.publish('responses.v1', written)
  await bus.publish('commands.v1', [command])
  return command
}

async function settled(): Promise<Response> {
  for (let tries = 0; tries < 300; tries++) {
    const lag = await bus.lag('respond')
    const [last] = await listResponses(bus)
    if (
      last !== undefined &&
      lag.some(({ topic, committed }) => topic === 'commands.v1' && committed !== null && committed > 0n) &&
      lag.every(({ committed, end }) => committed === end || end === 0n)
    )
      return last
    await systemClock.sleep(20)
  }
  throw new Error('waited in vain')
}
const stepsOf = async (response: Response) => (await showResponse(bus, response.response_id)).map(({ step }) => step)

it('intent, one call, read back; then a person takes it back', async () => {
  const responder = scripted()
  start({ scripted: responder })
  await issue()
  const last = await settled()
  expect(await stepsOf(last)).toEqual(['approved', 'issued', 'intent', 'executed', 'verified'])
  await decideResponse(bus, 'undo', { id: last.response_id, who: 'eve', why: null, now: systemClock.now() })
  await decideResponse(bus, 'undo', { id: last.response_id, who: 'ana', why: 'false alarm', now: systemClock.now() })
  await settled()
  expect(await stepsOf(last)).toEqual(['approved', 'issued', 'intent', 'executed', 'verified', 'refused', 'intent', 'undone'])
  expect(responder.calls).toEqual(['execute', 'read_back', 'undo was-active'])
  expect(await verifyResponses(bus)).toEqual([])
})

it('the same command again does nothing', async () => {
  const responder = scripted()
  start({ scripted: responder })
  const command = await issue()
  await bus.publish('commands.v1', [command, command])
  const last = await settled()
  expect(responder.calls.filter((call) => call === 'execute')).toHaveLength(1)
  expect(await stepsOf(last)).toHaveLength(5)
})

it.each(['throws', 'hangs'] as const)('a call that %s is unknown and not repeated', async (receipt) => {
  const responder = scripted({ receipt })
  start({ scripted: responder }, { deadline: '2s' })
  const command = await issue()
  await bus.publish('commands.v1', [command])
  expect((await settled()).step).toBe('unknown')
  expect(responder.calls).toEqual(['execute'])
})

it.each([
  ['contained', 'verified'],
  ['active', 'failed'],
  ['unknown', 'unknown'],
] as const)('after a crash behind the intent the target is read, never called: %s', async (state, step) => {
  const responder = scripted({ state })
  await issue({}, { step: 'intent', responder: 'scripted', expires_at: systemClock.now() + 300 })
  const began = systemClock.now()
  start({ scripted: responder })
  expect((await settled()).step).toBe(step)
  expect(responder.calls).toEqual(['read_back'])
  expect(systemClock.now() - began).toBeGreaterThanOrEqual(250)
})

it('expired, protected and unknown actions are refused, with the reason', async () => {
  const responder = scripted()
  start({ scripted: responder }, { protected: [{ id: 'fp_1' }] })
  await issue({ expires_at: systemClock.now() - 1 })
  expect(await settled()).toMatchObject({ step: 'refused', detail: 'the command had expired before a responder got it' })
  await issue({ alert_id: nameUuid('alert 2') })
  await settled()
  expect((await listResponses(bus)).map(({ detail }) => detail)).toContain('the target is protected by responses.protected')
  expect(responder.calls).toEqual([])
})

it('an action that nobody carries out is refused', async () => {
  start({ scripted: scripted() })
  await issue({ action: 'archive-project' })
  expect((await settled()).detail).toContain('no responder')
})

it('a command that no decision stands behind is ignored', async () => {
  const responder = scripted()
  start({ scripted: responder })
  await bus.publish('commands.v1', [commandFor({ ...target, id: 'fp_9' }, { expires_at: systemClock.now() + 60_000 })])
  await issue()
  await settled()
  expect(responder.calls.filter((call) => call === 'execute')).toHaveLength(1)
})

it('the least destructive rung is taken', async () => {
  const [hard, soft] = [scripted({ level: 3 }), scripted({ level: 1 })]
  start({ hard, soft })
  await issue()
  await settled()
  expect([hard.calls.length, soft.calls.includes('execute')]).toEqual([0, true])
})

/** A bus whose publish runs `before` first, for a step of responses.v1. */
const publishing = (before: (step: Response) => Promise<void>): Partial<Bus> => ({
  publish: async (topic, values) => {
    if (topic === 'responses.v1') for (const value of values) await before(value as Response)
    return bus.publish(topic, values)
  },
})

it('an approval does not carry out a second command, nor an old one under a new date', async () => {
  const responder = scripted()
  start({ scripted: responder })
  const command = await issue()
  await settled()
  const later = { ...command, command_id: nameUuid('another'), expires_at: systemClock.now() + 600_000 }
  await bus.publish('commands.v1', [later])
  await settled()
  expect(responder.calls.filter((call) => call === 'execute')).toHaveLength(1)

  const old = systemClock.now() - 16 * 60_000
  await issue({ alert_id: nameUuid('alert 2'), issued_at: old, expires_at: systemClock.now() + 600_000 })
  await settled()
  expect((await listResponses(bus)).map(({ detail }) => detail)).toContain('the command had expired before a responder got it')
  expect(responder.calls.filter((call) => call === 'execute')).toHaveLength(1)
})

it('a ledger that a stop cut short is not acted on', async () => {
  const responder = scripted()
  await issue({}, { step: 'executed', responder: 'scripted' })
  const stop = new AbortController()
  const cut: Partial<Bus> = {
    replay: (topic, visit, signal) =>
      bus.replay(
        topic,
        (batch) => {
          stop.abort()
          return visit({ ...batch, records: batch.records.slice(0, 2) })
        },
        signal,
      ),
  }
  start({ scripted: responder }, {}, cut, stop)
  while (!stop.signal.aborted) await systemClock.sleep(10)
  for (const end of stops.splice(0)) await end()
  expect(responder.calls).toEqual([])
  expect((await listResponses(bus))[0]?.step).toBe('executed')
})

it('when the bus takes the intent too late, nobody is called', async () => {
  const responder = scripted()
  start(
    { scripted: responder },
    { deadline: '200ms' },
    publishing(async ({ step }) => void (step === 'intent' && (await systemClock.sleep(300)))),
  )
  await issue()
  expect(await settled()).toMatchObject({ step: 'failed', detail: expect.stringContaining('no call was made') as string })
  expect(responder.calls).toEqual([])
})

it('of two responders that both believe to have the command only the first on the bus calls', async () => {
  const responder = scripted()
  const successor = async ({ step, responder: name }: Response): Promise<void> => {
    if (step !== 'intent' || name === 'successor') return
    const ledger = await readLedger(bus, never)
    const [steps = []] = ledger.steps.values()
    const { seq: _seq, prev: _prev, hash: _hash, ...issued } = steps.at(-1) as Response
    await bus.publish('responses.v1', [append(ledger, { ...issued, step: 'intent', responder: 'successor', expires_at: systemClock.now() + 60_000 })])
  }
  start({ scripted: responder }, {}, publishing(successor))
  const { alert_id, action } = await issue()
  const last = await settled()
  expect(responder.calls).toEqual([])
  expect(last).toMatchObject({ response_id: nameUuid(alert_id, action), step: 'intent' })
})

it('what became of a call is written down although the bus is away for a while', async () => {
  const responder = scripted()
  let failures = 0
  start(
    { scripted: responder },
    {},
    publishing(async ({ step }) => {
      if (step === 'executed' && failures++ < 2) throw new TransientError('the bus is away')
    }),
  )
  await issue()
  const last = await settled()
  expect(await stepsOf(last)).toEqual(['approved', 'issued', 'intent', 'executed', 'verified'])
  expect(responder.calls).toEqual(['execute', 'read_back'])
})
